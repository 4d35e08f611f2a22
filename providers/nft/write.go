package nft

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/vmnet/vmnet/schema"
)

// errStale says that the host does not hold what the change starts from.
var errStale = errors.New("it is not as it was")

// Do makes one change in one transaction, bound to the generation of the ruleset in which c.Before was found. A table that
// is updated is deleted and made again within the transaction: no packet sees it missing; its counters begin anew.
func (p *Provider) Do(ctx context.Context, c schema.Change) error {
	if err := p.do(ctx, c); err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb(), c.Ref, err)
	}
	return nil
}

func (p *Provider) do(ctx context.Context, c schema.Change) error {
	switch c.Ref.Kind {
	case schema.KindTable:
		before, okB := asTable(c.Before)
		after, okA := asTable(c.After)
		if !okB || !okA || before == nil && after == nil {
			return errors.New("not a change of a table")
		}
		table := cmp.Or(before, after).Ref()
		return p.transact(ctx, table, func() (*batch, error) { return p.changeTable(before, after) })
	case schema.KindNftRule:
		before, okB := asRule(c.Before)
		after, okA := asRule(c.After)
		if !okB || !okA || before == nil && after == nil {
			return errors.New("not a change of a rule")
		}
		table := cmp.Or(before, after).TableRef()
		return p.transact(ctx, table, func() (*batch, error) { return p.changeRule(before, after) })
	default:
		return fmt.Errorf("kind %s is not nftables' business", c.Ref.Kind)
	}
}

func asTable(o schema.Object) (*schema.Table, bool) {
	if o == nil {
		return nil, true
	}
	t, ok := o.(*schema.Table)
	return t, ok && !t.Legacy
}

func asRule(o schema.Object) (*schema.ForeignRule, bool) {
	if o == nil {
		return nil, true
	}
	r, ok := o.(*schema.ForeignRule)
	return r, ok && !r.Legacy
}

// live reads one table; nil when there is none of that name.
func (p *Provider) live(family, name string) (*schema.Table, error) {
	num, ok := familyNumber(family)
	if !ok {
		return nil, fmt.Errorf("unknown family %q", family)
	}
	tables, _, err := p.snapshot(filter{family: num, name: name})
	if err != nil && !errors.Is(err, errMoved) { // moved: the commit will find out
		return nil, err
	}
	if len(tables) == 0 {
		return nil, nil
	}
	return tables[0], nil
}

func (p *Provider) changeTable(before, after *schema.Table) (*batch, error) {
	name := before
	if name == nil {
		name = after
	}
	live, err := p.live(name.Family, name.Name)
	if err != nil {
		return nil, err
	}
	if err := checkTable(live, before); err != nil {
		return nil, err
	}
	for _, t := range []*schema.Table{before, after} {
		if err := canRestore(t); err != nil {
			return nil, err
		}
	}
	b := &batch{}
	if before != nil {
		family, _ := familyNumber(before.Family)
		var a builder
		a.str(unix.NFTA_TABLE_NAME, before.Name)
		b.add(request{typ: unix.NFT_MSG_DELTABLE, family: family, attrs: a.b}, "delete table %s %s", before.Family, before.Name)
	}
	if after == nil {
		return b, nil
	}
	return b, (&tableWriter{batch: b, table: after}).write()
}

// canRestore refuses tables of others that could not be put back as they were: what their sets do by themselves is not kept.
func canRestore(t *schema.Table) error {
	if t == nil || schema.OwnTable(t) {
		return nil
	}
	for _, s := range t.Sets {
		if s.Flags&(schema.SetTimeout|schema.SetEval|schema.SetObject) != 0 {
			return fmt.Errorf("set %s has timeouts, rules or objects of its own and could not be put back: %w", s.Name, errors.ErrUnsupported)
		}
	}
	return nil
}

// checkTable compares what is there with what the change starts from.
func checkTable(live, before *schema.Table) error {
	switch {
	case before == nil && live != nil:
		return fmt.Errorf("it is there already: %w", fs.ErrExist)
	case before == nil:
		return nil
	case live == nil:
		return fmt.Errorf("it is not there: %w", fs.ErrNotExist)
	}
	diffs := append(schema.Compare(live, before), schema.Compare(before, live)...)
	if len(diffs) > 0 {
		return fmt.Errorf("%w: %s", errStale, diffs[0])
	}
	return nil
}

// tableWriter puts a whole table into a batch: what others refer to comes first.
type tableWriter struct {
	*batch
	table  *schema.Table
	family byte
	encoder
}

// label begins the words for an error: "add rule inet vmnet".
func (w *tableWriter) label(what string) string {
	return fmt.Sprintf("add %s %s %s", what, w.table.Family, w.table.Name)
}

func (w *tableWriter) new(typ uint16, attrs []byte, label string) {
	w.add(request{typ: typ, flags: unix.NLM_F_CREATE, family: w.family, attrs: attrs}, "%s", label)
}

func (w *tableWriter) write() error {
	var ok bool
	if w.family, ok = familyNumber(w.table.Family); !ok {
		return fmt.Errorf("unknown family %q", w.table.Family)
	}
	w.encoder = encoder{table: w.table, ids: map[string]uint32{}}
	for _, step := range []func() error{w.writeTable, w.writeChains, w.writeOpaque, w.writeSets, w.writeRules} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// ownerFlags bind a table to the socket that made it (NFT_TABLE_F_OWNER, _PERSIST): a table of somebody else's is put back
// without them.
const ownerFlags = 2 | 4

func (w *tableWriter) writeTable() error {
	t := w.table
	flags := t.Flags &^ (ownerFlags | unix.NFT_TABLE_F_DORMANT)
	if t.Dormant {
		flags |= unix.NFT_TABLE_F_DORMANT
	}
	var a builder
	a.str(unix.NFTA_TABLE_NAME, t.Name)
	a.u32(unix.NFTA_TABLE_FLAGS, flags)
	if err := a.comment(nftaTableUserdata, udataComment, t.Comment); err != nil {
		return fmt.Errorf("%s: %w", w.label("table"), err)
	}
	w.new(unix.NFT_MSG_NEWTABLE, a.b, w.label("table"))
	return nil
}

// comment writes user data that holds a comment and nothing else.
func (b *builder) comment(attr uint16, typ byte, text string) error {
	if text == "" {
		return nil
	}
	data, err := appendUdata(nil, typ, text)
	if err != nil {
		return err
	}
	b.bytes(attr, data)
	return nil
}

func (w *tableWriter) writeChains() error {
	for _, c := range w.table.Chains {
		label := w.label("chain") + " " + c.Name
		var a builder
		a.str(unix.NFTA_CHAIN_TABLE, w.table.Name)
		a.str(unix.NFTA_CHAIN_NAME, c.Name)
		if err := a.comment(nftaChainUserdata, udataComment, c.Comment); err != nil {
			return fmt.Errorf("%s: %w", label, err)
		}
		if c.Hook != "" {
			if err := w.hook(&a, c); err != nil {
				return fmt.Errorf("%s: %w", label, err)
			}
		}
		w.new(unix.NFT_MSG_NEWCHAIN, a.b, label)
	}
	return nil
}

func (w *tableWriter) hook(a *builder, c *schema.Chain) error {
	num, err := wordNumber(hookNames(w.table.Family), c.Hook, "hook")
	if err != nil {
		return err
	}
	policy := uint32(1)
	switch c.Policy {
	case "drop":
		policy = 0
	case "accept", "":
	default:
		return fmt.Errorf("unknown policy %q", c.Policy)
	}
	h := a.nest(unix.NFTA_CHAIN_HOOK)
	a.u32(unix.NFTA_HOOK_HOOKNUM, num)
	a.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.Priority))
	switch {
	case len(c.Devices) == 1:
		a.str(unix.NFTA_HOOK_DEV, c.Devices[0])
	case len(c.Devices) > 1:
		d := a.nest(nftaHookDevs)
		for _, name := range c.Devices {
			a.str(1, name) // NFTA_DEVICE_NAME
		}
		a.end(d)
	}
	a.end(h)
	a.str(unix.NFTA_CHAIN_TYPE, c.Type)
	a.u32(unix.NFTA_CHAIN_POLICY, policy)
	return nil
}

func (w *tableWriter) writeOpaque() error {
	for _, o := range w.table.Opaque {
		var a builder
		a.str(1, w.table.Name) // NFTA_OBJ_TABLE, NFTA_FLOWTABLE_TABLE
		a.str(2, o.Name)
		a.b = append(a.b, o.Raw...)
		typ := uint16(unix.NFT_MSG_NEWOBJ)
		if o.Type == "flowtable" {
			typ = unix.NFT_MSG_NEWFLOWTABLE
		}
		w.new(typ, a.b, w.label(o.Type)+" "+o.Name)
	}
	return nil
}

func (w *tableWriter) writeRules() error {
	for _, c := range w.table.Chains {
		for i, r := range c.Rules {
			label := fmt.Sprintf("%s %s #%d", w.label("rule"), c.Name, i+1)
			attrs, err := w.rule(c.Name, r)
			if err != nil {
				return fmt.Errorf("%s: %w", label, err)
			}
			w.add(request{
				typ: unix.NFT_MSG_NEWRULE, flags: unix.NLM_F_CREATE | unix.NLM_F_APPEND, family: w.family, attrs: attrs,
			}, "%s", label)
		}
	}
	return nil
}

// rule is a rule's attributes: its bytes where it has them, else its expressions.
func (w *tableWriter) rule(chain string, r *schema.Rule) ([]byte, error) {
	var a builder
	a.str(unix.NFTA_RULE_TABLE, w.table.Name)
	a.str(unix.NFTA_RULE_CHAIN, chain)
	list, userdata := acceptable(r.Raw), []byte(r.UserData)
	if len(list) == 0 {
		var err error
		if list, err = w.expressions(r.Exprs); err != nil {
			return nil, err
		}
	}
	if len(r.Raw) == 0 && r.Comment != "" {
		var err error
		if userdata, err = appendUdata(nil, udataComment, r.Comment); err != nil {
			return nil, err
		}
	}
	if len(list) > 0xffff-unix.NLA_HDRLEN {
		return nil, errors.New("the rule is too long")
	}
	a.bytes(unix.NFTA_RULE_EXPRESSIONS|unix.NLA_F_NESTED, list)
	if compat := compatInfo(w.table.Family, r); len(compat) > 0 {
		a.bytes(unix.NFTA_RULE_COMPAT|unix.NLA_F_NESTED, compat)
	}
	if len(userdata) > 0 {
		a.bytes(unix.NFTA_RULE_USERDATA, userdata)
	}
	return a.b, nil
}

// compatInfo is NFTA_RULE_COMPAT: the protocol a rule is for, which matches such as tcp ask for. The kernel does not keep it
// (nft_parse_compat in net/netfilter/nft_compat.c), so it is made from the rule's own test: of the protocol in the IP header, or in the
// bridge family of the one in the Ethernet header, whose two bytes stand there as they lie in memory.
func compatInfo(family string, r *schema.Rule) []byte {
	if len(r.Compat) > 0 || !bytes.Contains(r.Raw, []byte("match\x00")) && !bytes.Contains(r.Raw, []byte("target\x00")) {
		return r.Compat
	}
	for i := range len(r.Exprs) - 1 {
		e, c := &r.Exprs[i], &r.Exprs[i+1]
		var proto uint32
		switch {
		case c.Name != "cmp":
			continue
		case family == "bridge" && testsEtherType(e) && len(c.Data) == 2:
			proto = uint32(binary.NativeEndian.Uint16(c.Data))
		case family != "bridge" && testsProtocol(e) && len(c.Data) == 1:
			proto = uint32(c.Data[0])
		default:
			continue
		}
		var b builder
		b.u32(unix.NFTA_RULE_COMPAT_PROTO, proto)
		flags := uint32(0)
		if c.Op == "neq" {
			flags = unix.NFT_RULE_COMPAT_F_INV
		}
		b.u32(unix.NFTA_RULE_COMPAT_FLAGS, flags)
		return b.b
	}
	return nil
}

func testsEtherType(e *schema.Expr) bool {
	return e.Name == "payload" && e.Base == "link" && e.Offset == 12 && e.Len == 2 || e.Name == "meta" && e.Key == "protocol"
}

func testsProtocol(e *schema.Expr) bool {
	return e.Name == "payload" && e.Base == "network" && e.Len == 1 && (e.Offset == 9 || e.Offset == 6) || e.Name == "meta" && e.Key == "l4proto"
}

// acceptable is a rule's bytes as the kernel takes them back: what it lists with zeros where it wants nothing goes.
func acceptable(list []byte) []byte {
	if !bytes.Contains(list, []byte("exthdr\x00")) && !bytes.Contains(list, []byte("osf\x00")) {
		return list
	}
	var out builder
	a := attrs{b: list}
	for a.next() {
		name, data, err := splitExpression(a.val)
		unwanted := unwantedZeros(string(name), data)
		if err != nil || unwanted == nil {
			out.bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, a.val)
			continue
		}
		elem := out.nest(unix.NFTA_LIST_ELEM)
		out.str(unix.NFTA_EXPR_NAME, string(name))
		fields := out.nest(unix.NFTA_EXPR_DATA)
		for f := (attrs{b: data}); f.next(); {
			if !slices.Contains(unwanted, f.typ) || len(bytes.Trim(f.val, "\x00")) > 0 {
				out.bytes(f.typ, f.val)
			}
		}
		out.end(fields)
		out.end(elem)
	}
	if a.err != nil {
		return list
	}
	return out.b
}

// unwantedZeros are the attributes that the kernel lists with an expression though they are zero, and refuses: flags of an exthdr that
// writes an option, and with one that strips an option all of its place (nft_exthdr_tcp_set_init and nft_exthdr_tcp_strip_init in
// net/netfilter/nft_exthdr.c), flags of an osf (nft_osf_init in nft_osf.c).
func unwantedZeros(name string, data []byte) []uint16 {
	switch name {
	case "osf":
		return []uint16{nftaOsfFlags}
	case "exthdr":
		for a := (attrs{b: data}); a.next(); {
			if a.typ == unix.NFTA_EXTHDR_DREG || a.typ == unix.NFTA_EXTHDR_SREG {
				return []uint16{unix.NFTA_EXTHDR_FLAGS}
			}
		}
		return []uint16{unix.NFTA_EXTHDR_FLAGS, unix.NFTA_EXTHDR_OFFSET, unix.NFTA_EXTHDR_LEN}
	}
	return nil
}

// sameRule tells whether a live rule is the one that was read: by its bytes, counters aside.
func sameRule(live, was *schema.Rule) bool {
	if len(was.Raw) == 0 {
		return schema.RulesEqual(live, was)
	}
	return live.Comment == was.Comment && bytes.Equal(stable(live.Raw), stable(was.Raw)) && bytes.Equal(live.UserData, was.UserData)
}

// stable is a rule's bytes without what runs: the values of counters and quotas, and when "last" saw a packet.
func stable(list []byte) []byte {
	out := make([]byte, 0, len(list))
	a := attrs{b: list}
	for a.next() {
		name, data, err := splitExpression(a.val)
		switch {
		case err != nil:
			return list
		case string(name) == "counter", string(name) == "quota", string(name) == "last":
			e, err := decodeExpr(name, data)
			if err != nil {
				return list
			}
			out = append(append(out, name...), e.Opaque...)
		default:
			out = append(out, a.val...)
		}
	}
	return out
}
