package nft

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// filter says which tables to read; the zero family is every family, the empty name every table.
type filter struct {
	family byte
	name   string
	// anyhow takes what changes while it is read: dumps that were interrupted, and what is gone before its turn.
	anyhow bool
}

var everyTable = filter{}

func (f filter) wants(family byte, table string) bool {
	return f.name == "" || f.family == family && f.name == table
}

// tableKey names a table while it is read.
type tableKey struct {
	family byte
	name   string
}

// reader gathers one snapshot.
type reader struct {
	*socket
	want    filter
	tables  map[tableKey]*schema.Table
	order   []*schema.Table
	texts   *textWriter
	decoder ruleDecoder
	// sets are those whose elements are still to be read.
	sets []openSet
}

type openSet struct {
	key tableKey
	set *schema.Set
}

// snapshot reads everything once. With errMoved the tables are returned all the same: every dump was whole.
func (p *Provider) snapshot(want filter) ([]*schema.Table, generation, error) {
	before, err := p.sock.generation()
	if err != nil {
		return nil, before, err
	}
	r := &reader{socket: p.sock, want: want, tables: map[tableKey]*schema.Table{}}
	r.decoder.sets = p.sets
	p.sets.Again()
	p.sock.lenient = want.anyhow
	defer func() { p.sock.lenient = false }()
	for _, step := range []func() error{r.readTables, r.readChains, r.readSets, r.readElements, r.readObjects, r.readFlowtables, r.readRules} {
		if err := step(); err != nil {
			return nil, before, translate(err)
		}
	}
	if p.sets.Doubtful() { // known now, so that it does not happen again
		return p.snapshot(want)
	}
	r.finish()
	after, err := p.sock.generation()
	if err != nil {
		return nil, after, err
	}
	if after.id != before.id {
		return r.order, after, errMoved
	}
	return r.order, after, nil
}

// dump asks for every object of a kind in every family.
func (r *reader) dump(typ uint16, each func(family byte, attrs []byte) error) error {
	return r.call(request{typ: typ, flags: unix.NLM_F_DUMP, family: r.want.family}, func(m message) error {
		family, b, err := m.attrs()
		if err != nil {
			return err
		}
		return each(family, b)
	})
}

func (r *reader) readTables() error {
	return r.dump(unix.NFT_MSG_GETTABLE, func(family byte, b []byte) error {
		t, err := decodeTable(b)
		if err != nil {
			return fmt.Errorf("decode table: %w", err)
		}
		if t.Family = familyName(family); t.Family == "" {
			t.Family = fmt.Sprintf("family%d", family) // one that this version does not know: still there
		}
		if r.want.wants(family, t.Name) {
			r.tables[tableKey{family, t.Name}] = t
			r.order = append(r.order, t)
		}
		return nil
	})
}

func (r *reader) readChains() error {
	if len(r.tables) == 0 {
		return nil
	}
	return r.dump(unix.NFT_MSG_GETCHAIN, func(family byte, b []byte) error {
		c, table, err := decodeChain(familyName(family), b)
		if err != nil {
			return fmt.Errorf("decode chain: %w", err)
		}
		if t := r.tables[tableKey{family, table}]; t != nil {
			t.Chains = append(t.Chains, c)
		}
		return nil
	})
}

func (r *reader) readSets() error {
	if len(r.tables) == 0 {
		return nil
	}
	return r.dump(unix.NFT_MSG_GETSET, func(family byte, b []byte) error {
		s, table, err := decodeSet(b)
		if err != nil {
			return fmt.Errorf("decode set: %w", err)
		}
		key := tableKey{family, table}
		if t := r.tables[key]; t != nil {
			t.Sets = append(t.Sets, s)
			r.sets = append(r.sets, openSet{key, s})
		}
		return nil
	})
}

func (r *reader) readObjects() error {
	return r.readOpaque(unix.NFT_MSG_GETOBJ, "object")
}

// readFlowtables: kernels without flowtables refuse the question.
func (r *reader) readFlowtables() error {
	err := r.readOpaque(unix.NFT_MSG_GETFLOWTABLE, "flowtable")
	if isUnsupported(err) {
		return nil
	}
	return err
}

func (r *reader) readOpaque(typ uint16, name string) error {
	if len(r.tables) == 0 {
		return nil
	}
	return r.dump(typ, func(family byte, b []byte) error {
		o, table, err := decodeOpaque(name, b)
		if err != nil {
			return fmt.Errorf("decode %s: %w", name, err)
		}
		if t := r.tables[tableKey{family, table}]; t != nil {
			t.Opaque = append(t.Opaque, o)
		}
		return nil
	})
}

// readRules dumps chain by chain: see the package comment. What is read is printed meanwhile.
func (r *reader) readRules() error {
	r.texts = newTextWriter(r.linkName)
	defer r.texts.close()
	for key, t := range r.tables {
		t.Compat = namedCompat(t)
		for _, c := range t.Chains {
			if err := r.gone(r.readChain(key, t, c)); err != nil {
				return fmt.Errorf("rules of chain %s %s %s: %w", t.Family, t.Name, c.Name, err)
			}
		}
	}
	return nil
}

func (r *reader) readChain(key tableKey, t *schema.Table, c *schema.Chain) error {
	var b builder
	b.str(unix.NFTA_RULE_TABLE, key.name)
	b.str(unix.NFTA_RULE_CHAIN, c.Name)
	d := &r.decoder
	d.family, d.own = familyName(key.family), schema.OwnTable(t)
	printed := 0
	flush := func() {
		if !d.own && printed < len(c.Rules) {
			r.texts.add(unprinted{t, c.Rules[printed:len(c.Rules):len(c.Rules)], d.lowered})
		}
		printed, d.lowered = len(c.Rules), map[*schema.Rule][]part{}
	}
	flush()
	defer flush()
	return r.stream(request{typ: unix.NFT_MSG_GETRULE, flags: unix.NLM_F_DUMP, family: key.family, attrs: b.b}, func(m message) error {
		_, attrs, err := m.attrs()
		if err != nil {
			return err
		}
		rule, chain, err := d.decode(attrs)
		if err != nil {
			return fmt.Errorf("decode rule: %w", err)
		}
		if chain == c.Name { // kernels before 4.10 ignore the filter
			c.Rules = append(c.Rules, rule)
		}
		if len(c.Rules)-printed >= textsAtOnce {
			flush()
		}
		return nil
	})
}

func (r *reader) readElements() error {
	for _, s := range r.sets {
		if err := r.gone(r.readSet(s)); err != nil {
			return fmt.Errorf("elements of set %s %s %s: %w", familyName(s.key.family), s.key.name, s.set.Name, err)
		}
	}
	return nil
}

func (r *reader) readSet(s openSet) error {
	var b builder
	b.str(unix.NFTA_SET_ELEM_LIST_TABLE, s.key.name)
	b.str(unix.NFTA_SET_ELEM_LIST_SET, s.set.Name)
	var elems []rawElement
	err := r.call(request{typ: unix.NFT_MSG_GETSETELEM, flags: unix.NLM_F_DUMP, family: s.key.family, attrs: b.b}, func(m message) error {
		_, attrs, err := m.attrs()
		if err != nil {
			return err
		}
		elems, err = decodeElements(elems, attrs)
		return err
	})
	if err != nil {
		return err
	}
	s.set.Elements = joinElements(s.set, elems)
	if duplicated(s.set.Elements) && !r.want.anyhow {
		return errInterrupted
	}
	return nil
}

// gone forgives a chain or set that is gone before its turn.
func (r *reader) gone(err error) error {
	if r.want.anyhow && errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// duplicated tells whether an element is there twice. The kernel lists a hash by counting how far it came; while the table
// grows, which it does behind the back of the writer, it lists some elements twice and leaves as many out, without a word
// (nft_rhash_walk in net/netfilter/nft_set_hash.c; seen on Linux 6.18 with 10,000 elements just written).
func duplicated(sorted []schema.Element) bool {
	for i := 1; i < len(sorted); i++ {
		a, b := &sorted[i-1], &sorted[i]
		if bytes.Equal(a.Key, b.Key) && bytes.Equal(a.KeyEnd, b.KeyEnd) && a.CatchAll == b.CatchAll {
			return true
		}
	}
	return false
}

// finish sorts, and says whose each table is.
func (r *reader) finish() {
	slices.SortFunc(r.order, func(a, b *schema.Table) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Name, b.Name))
	})
	if r.texts != nil {
		r.texts.settle()
	}
	for _, t := range r.order {
		slices.SortFunc(t.Chains, func(a, b *schema.Chain) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Sets, func(a, b *schema.Set) int { return cmp.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Opaque, func(a, b schema.OpaqueObject) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
		})
	}
}
