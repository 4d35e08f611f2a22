package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

func (w *tableWriter) writeSets() error {
	for i, s := range w.table.Sets {
		id := uint32(i + 1)
		w.ids[s.Name] = id
		label := w.label("set") + " " + s.Name
		attrs, err := encodeSet(w.table.Name, s, id)
		if err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		w.new(unix.NFT_MSG_NEWSET, attrs, label)
	}
	for _, s := range w.table.Sets {
		if err := w.elements(w.table.Name, s); err != nil {
			return fmt.Errorf("%s %s: %w", w.label("elements to set"), s.Name, err)
		}
	}
	return nil
}

// verdictLen is sizeof(struct nft_verdict), which the kernel gives as the length of a verdict map's data.
const verdictLen = 16

func encodeSet(table string, s *schema.Set, id uint32) ([]byte, error) {
	var a builder
	a.str(unix.NFTA_SET_TABLE, table)
	a.str(unix.NFTA_SET_NAME, s.Name)
	a.u32(unix.NFTA_SET_FLAGS, s.Flags)
	a.u32(unix.NFTA_SET_KEY_TYPE, s.KeyType)
	a.u32(unix.NFTA_SET_KEY_LEN, s.KeyLen)
	switch {
	case s.Flags&schema.SetObject != 0:
		return nil, fmt.Errorf("a map of objects: %w", errUnwritable)
	case s.Flags&schema.SetMap != 0:
		a.u32(unix.NFTA_SET_DATA_TYPE, s.DataType)
		length := s.DataLen
		if s.DataType == schema.VerdictType {
			length = verdictLen
		}
		a.u32(unix.NFTA_SET_DATA_LEN, length)
	}
	if len(s.Fields) > 1 && s.Flags&schema.SetConcat != 0 {
		encodeFields(&a, s.Fields)
	}
	a.u32(unix.NFTA_SET_ID, id)
	data, err := setUserdata(s)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		a.bytes(unix.NFTA_SET_USERDATA, data)
	}
	return a.b, nil
}

func encodeFields(a *builder, fields []uint32) {
	desc := a.nest(unix.NFTA_SET_DESC)
	concat := a.nest(nftaSetDescConcat)
	for _, n := range fields {
		f := a.nest(unix.NFTA_LIST_ELEM)
		a.u32(nftaSetFieldLen, n)
		a.end(f)
	}
	a.end(concat)
	a.end(desc)
}

// setUserdata is what was read, or, for a set of ours, what nft(8) needs to print the keys well.
func setUserdata(s *schema.Set) ([]byte, error) {
	if len(s.UserData) > 0 {
		return s.UserData, nil
	}
	var b []byte
	if order := byteOrder(s.KeyType); order != 0 {
		b = append(b, udataSetKeyBO, 4)
		b = binary.NativeEndian.AppendUint32(b, order)
	}
	if order := byteOrder(s.DataType); order != 0 && s.Flags&schema.SetMap != 0 && s.DataType != schema.VerdictType {
		b = append(b, udataSetDataBO, 4)
		b = binary.NativeEndian.AppendUint32(b, order)
	}
	if s.Comment != "" {
		return appendUdata(b, udataSetComment, s.Comment)
	}
	return b, nil
}

// byteOrder is how libnftables keeps a value of a type; 0 where it needs no word.
func byteOrder(t uint32) uint32 {
	switch t {
	case typeIfName, typeMark, typeIfIndex, typeUID, typeGID, typeCTState, typeCTStatus, typeFibAddr, typeDevgroup, typeRealm:
		return byteorderHost
	case typeIPAddr, typeIP6Addr, typeEtherAddr, typeEtherType, typeInetService, typeInetProto:
		return byteorderBig
	}
	return 0
}

// elements writes the elements of a set, in messages that stay below the 64 KiB an attribute can have.
func (w *tableWriter) elements(table string, s *schema.Set) error {
	label := fmt.Sprintf("%s %s", w.label("elements to set"), s.Name)
	return encodeElements(table, s, w.ids[s.Name], func(attrs []byte, from int) {
		w.add(request{typ: unix.NFT_MSG_NEWSETELEM, flags: unix.NLM_F_CREATE, family: w.family, attrs: attrs}, "%s from #%d on", label, from+1)
	})
}

func encodeElements(table string, s *schema.Set, id uint32, emit func(attrs []byte, from int)) error {
	byKey := func(a, b schema.Element) int { return bytes.Compare(a.Key, b.Key) }
	if !slices.IsSortedFunc(s.Elements, byKey) {
		sorted := *s
		sorted.Elements = slices.SortedStableFunc(slices.Values(s.Elements), byKey)
		s = &sorted
	}
	var list builder
	begin := 0
	flush := func(next int) {
		if len(list.b) == 0 {
			return
		}
		var a builder
		a.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		a.str(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
		a.u32(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		a.bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list.b)
		emit(a.b, begin)
		list.b, begin = nil, next
	}
	for i := range s.Elements {
		if err := encodeElement(&list, s, i); err != nil {
			return fmt.Errorf("element %d (%x): %w", i+1, []byte(s.Elements[i].Key), err)
		}
		if len(list.b) > nftMaxElemBytes {
			flush(i + 1)
		}
	}
	flush(len(s.Elements))
	return nil
}

// encodeElement writes an element, and in a plain interval set the mark of its end.
func encodeElement(list *builder, s *schema.Set, i int) error {
	e := &s.Elements[i]
	if len(e.Key) != int(s.KeyLen) && !e.CatchAll || len(e.KeyEnd) != 0 && len(e.KeyEnd) != len(e.Key) {
		return fmt.Errorf("the key is not %d bytes long", s.KeyLen)
	}
	concat := len(s.Fields) > 1 || s.Flags&schema.SetConcat != 0
	interval := s.Flags&schema.SetInterval != 0
	if len(e.KeyEnd) > 0 && !interval {
		return errors.New("an interval in a set without intervals")
	}
	elem := list.nest(unix.NFTA_LIST_ELEM)
	if !e.CatchAll {
		list.value(unix.NFTA_SET_ELEM_KEY, e.Key)
	}
	if interval && concat && !e.CatchAll {
		end := e.KeyEnd
		if len(end) == 0 {
			end = e.Key
		}
		list.value(nftaSetElemKeyEnd, end)
	}
	if err := encodeElementData(list, s, e); err != nil {
		return err
	}
	list.end(elem)
	if !interval || concat || e.CatchAll {
		return nil
	}
	return encodeIntervalEnd(list, e)
}

func encodeElementData(list *builder, s *schema.Set, e *schema.Element) error {
	switch {
	case e.Verdict != nil:
		if err := list.verdict(unix.NFTA_SET_ELEM_DATA, e.Verdict); err != nil {
			return err
		}
	case s.Flags&schema.SetMap != 0:
		list.value(unix.NFTA_SET_ELEM_DATA, e.Data)
	}
	if e.CatchAll {
		list.u32(unix.NFTA_SET_ELEM_FLAGS, nftSetElemCatchall)
	}
	if e.Timeout != 0 {
		list.u64(unix.NFTA_SET_ELEM_TIMEOUT, e.Timeout)
	}
	return list.comment(unix.NFTA_SET_ELEM_USERDATA, udataComment, e.Comment)
}

// encodeIntervalEnd marks where a plain interval ends, unless it reaches the highest key. Also where the next begins right
// there: the kernel takes two beginnings in a row for an overlap.
func encodeIntervalEnd(list *builder, e *schema.Element) error {
	last := []byte(e.KeyEnd)
	if len(last) == 0 {
		last = e.Key
	}
	if bytes.Compare(last, e.Key) < 0 {
		return errors.New("the interval ends before it begins")
	}
	end, ok := increment(last)
	if !ok {
		return nil
	}
	elem := list.nest(unix.NFTA_LIST_ELEM)
	list.value(unix.NFTA_SET_ELEM_KEY, end)
	list.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	list.end(elem)
	return nil
}
