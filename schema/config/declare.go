package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// blockSpec is what the language knows of a type of block.
type blockSpec struct {
	kind     string
	label    bool     // it has one
	free     bool     // the label need not be an identifier: it is a device or a key
	attrs    []string // that it may have; for_each and count come on top when it has a label
	nested   []string
	example  string
	decode   func(*loader, *instance)
	referred bool // expressions may refer to it
}

// specs is the grammar: every type of block and what may stand in it.
func specs() []blockSpec {
	return []blockSpec{
		{kind: "vmnet", attrs: []string{"required_version", "confirm", "foreign", "risk_limit"}, example: `vmnet { … }`, decode: (*loader).decodeSettings},
		{kind: "variable", label: true, attrs: []string{"type", "default", "description"}, example: `variable "uplink" { … }`},
		{kind: "locals", example: `locals { … }`},
		{kind: "bridge", label: true, attrs: []string{"device", "ports", "addresses", "gateway", "gateway6", "mtu", "stp"}, example: `bridge "lan" { … }`, decode: (*loader).decodeBridge, referred: true},
		{kind: "nat", label: true, attrs: []string{"device", "subnet", "subnet6", "gateway", "gateway6", "uplink", "mtu"}, nested: []string{"dhcp", "dns"}, example: `nat "lab" { … }`, decode: (*loader).decodeNAT, referred: true},
		{kind: "host_only", label: true, attrs: []string{"device", "subnet", "subnet6", "gateway", "gateway6", "mtu", "isolate"}, nested: []string{"dhcp", "dns"}, example: `host_only "build" { … }`, decode: (*loader).decodeHostOnly, referred: true},
		{kind: "guest", label: true, attrs: []string{"name", "network", "mac", "address", "address6", "device"}, example: `guest "db1" { … }`, decode: (*loader).decodeGuest, referred: true},
		{kind: "forward", label: true, attrs: []string{"tcp", "udp", "to", "to_port"}, example: `forward "ssh" { … }`, decode: (*loader).decodeForward},
		{kind: "firewall", label: true, nested: []string{"allow", "deny"}, example: `firewall "lab" { … }`, decode: (*loader).decodeFirewall},
		{kind: "adapter", label: true, free: true, attrs: []string{"device", "mtu", "reset"}, example: `adapter "eno3" { … }`, decode: (*loader).decodeAdapter, referred: true},
		{kind: "sysctl", label: true, free: true, attrs: []string{"key", "value"}, example: `sysctl "net.core.somaxconn" { … }`, decode: (*loader).decodeSysctl},
		{kind: "expect", label: true, attrs: []string{"from", "to", "tcp", "udp", "icmp", "allow", "probe"}, example: `expect "updates" { … }`, decode: (*loader).decodeExpect},
		{kind: "protect", label: true, attrs: []string{"interface"}, nested: []string{"flow"}, example: `protect "management" { … }`, decode: (*loader).decodeProtect},
	}
}

// nestedAttrs are the attributes of the blocks inside blocks.
func nestedAttrs(kind string) []string {
	switch kind {
	case "dhcp":
		return []string{"range", "lease", "options", "checksums"}
	case "dns":
		return []string{"domain", "upstream", "records"}
	}
	return []string{"from", "to", "tcp", "udp", "icmp"}
}

func kindNames(specs []blockSpec) []string {
	var out []string
	for _, s := range specs {
		out = append(out, s.kind)
	}
	return out
}

// otherWords are words of other tools, and ours for the same thing.
func otherWords() map[string]string {
	return map[string]string{
		"network": "nat, host_only or bridge", "networks": "nat, host_only or bridge", "vm": "guest", "interface": "adapter", "nic": "adapter",
		"expectation": "expect", "hostonly": "host_only", "port_forward": "forward", "var": "variable", "local": "locals",
		"terraform": "vmnet", "settings": "vmnet",
		"cidr": "subnet", "ip": "address", "ip_address": "address", "hwaddr": "mac", "mac_address": "mac",
		"tap": "device", "ifname": "device", "egress": "uplink", "allow_reset": "reset", "port": "tcp or udp",
		"source": "from", "src": "from", "destination": "to", "dst": "to", "interfaces": "ports",
	}
}

// hint is " Did you mean …?" for a name that is not among the candidates.
func hint(name string, candidates []string) string {
	if w := otherWords()[strings.ToLower(name)]; w != "" && slices.Contains(candidates, strings.Fields(strings.ReplaceAll(w, ",", ""))[0]) {
		return fmt.Sprintf(" Here it is called %s.", w)
	}
	return didYouMean(name, candidates)
}

// declare checks the shape of every block and gives each a node, without evaluating anything.
func (l *loader) declare() {
	all := specs()
	for i := range all {
		if s := &all[i]; s.label && s.kind != "variable" {
			s.attrs = append(s.attrs, "for_each", "count")
		}
	}
	for _, body := range l.bodies {
		for _, name := range attributeNames(body) {
			l.fail(codeUnknownAttribute, where{rng: &body.Attributes[name].NameRange},
				"Nothing stands outside of blocks, so %q has no meaning here.%s", name, hint(name, kindNames(all)))
		}
		for _, b := range body.Blocks {
			i := slices.IndexFunc(all, func(s blockSpec) bool { return s.kind == b.Type })
			if i < 0 {
				l.fail(codeUnknownBlock, where{rng: &b.TypeRange, in: b}, "There is no block type %q.%s The types are %s.",
					b.Type, hint(b.Type, kindNames(all)), listOf(kindNames(all)))
				continue
			}
			l.declareBlock(b, &all[i])
		}
	}
	l.checkVMNetBlock()
}

func (l *loader) declareBlock(b *hclsyntax.Block, s *blockSpec) {
	if s.kind == "locals" {
		l.declareLocals(b, s)
		return
	}
	name, ok := l.checkLabels(b, s)
	l.checkContent(b, s)
	if !ok {
		return
	}
	n := &node{kind: s.kind, name: name, block: b, spec: s, rng: b.DefRange(), damaged: l.syntaxErrorIn(b)}
	if s.kind == "variable" {
		n.kind = "var"
	}
	if l.addNode(n) && n.kind != "var" {
		l.order = append(l.order, n)
	}
}

func (l *loader) declareLocals(b *hclsyntax.Block, s *blockSpec) {
	l.checkLabels(b, s)
	l.checkNested(b, s)
	for _, name := range attributeNames(b.Body) {
		a := b.Body.Attributes[name]
		l.addNode(&node{kind: "local", name: name, block: b, expr: a.Expr, rng: a.NameRange, damaged: l.syntaxErrorIn(b)})
	}
}

// addNode makes a block or value known by its name; false when the name is taken.
func (l *loader) addNode(n *node) bool {
	if l.nodes[n.kind] == nil {
		l.nodes[n.kind] = map[string]*node{}
	}
	old := l.nodes[n.kind][n.name]
	if old == nil {
		l.nodes[n.kind][n.name] = n
		return true
	}
	what := n.id()
	if n.kind == "vmnet" {
		what = "the vmnet block"
	}
	l.fail(codeDuplicateBlock, where{rng: &n.rng, in: n.block}, "%s is already declared at %s. Rename or remove one of the two.", what, old.where().place())
	return false
}

// checkLabels gives the block's name; ok is false when it has none that can be used.
func (l *loader) checkLabels(b *hclsyntax.Block, s *blockSpec) (name string, ok bool) {
	switch {
	case !s.label && len(b.Labels) > 0:
		l.fail(codeLabels, where{rng: hcl.RangeBetween(b.LabelRanges[0], b.LabelRanges[len(b.LabelRanges)-1]).Ptr(), in: b},
			"A %s block has no label. Write %s.", b.Type, s.example)
		return "", true
	case !s.label:
		return "", true
	case len(b.Labels) == 0:
		l.fail(codeLabels, where{rng: &b.TypeRange, in: b}, "A %s block needs a name. Write %s.", b.Type, s.example)
		return "", false
	case len(b.Labels) > 1:
		l.fail(codeLabels, where{rng: hcl.RangeBetween(b.LabelRanges[1], b.LabelRanges[len(b.LabelRanges)-1]).Ptr(), in: b},
			"A %s block has one label, its name. Write %s.", b.Type, s.example)
	}
	name = b.Labels[0]
	if !s.free && !plainName(name) && !hclsyntax.ValidIdentifier(name) {
		l.fail(codeLabels, where{rng: &b.LabelRanges[0], in: b},
			"%q cannot be referred to: a name starts with a letter and goes on with letters, digits, _ and -.", name)
	}
	return name, name != ""
}

// plainName tells whether a name is an identifier of ASCII letters. Most are, and the library asks its scanner.
func plainName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || c == '_' || c == '-'):
		default:
			return false
		}
	}
	return s != ""
}

// checkContent reports attributes and nested blocks that the type does not have.
func (l *loader) checkContent(b *hclsyntax.Block, s *blockSpec) {
	l.checkAttributes(b, b, s.attrs)
	l.checkNested(b, s)
}

func (l *loader) checkAttributes(b, context *hclsyntax.Block, allowed []string) {
	known := 0
	for _, name := range allowed {
		if b.Body.Attributes[name] != nil {
			known++
		}
	}
	if known == len(b.Body.Attributes) {
		return
	}
	for _, name := range attributeNames(b.Body) {
		if slices.Contains(allowed, name) {
			continue
		}
		l.fail(codeUnknownAttribute, where{rng: &b.Body.Attributes[name].NameRange, in: context},
			"A %s block has no attribute %q.%s %s", b.Type, name, hint(name, allowed), itsAttributes(allowed))
	}
}

func itsAttributes(allowed []string) string {
	if len(allowed) == 0 {
		return "It has none."
	}
	return fmt.Sprintf("It has %s.", listOf(allowed))
}

func (l *loader) checkNested(b *hclsyntax.Block, s *blockSpec) {
	if len(b.Body.Blocks) == 0 {
		return
	}
	seen := map[string]*hclsyntax.Block{}
	for _, n := range b.Body.Blocks {
		if !slices.Contains(s.nested, n.Type) {
			l.fail(codeUnknownBlock, where{rng: &n.TypeRange, in: b}, "A %s block holds no %q block.%s %s", b.Type, n.Type, hint(n.Type, s.nested), nestedCure(b, n, s))
			continue
		}
		if len(n.Labels) > 0 {
			l.fail(codeLabels, where{rng: &n.LabelRanges[0], in: b}, "A block of type %s has no label. Write %s { … }.", n.Type, n.Type)
		}
		l.checkAttributes(n, b, nestedAttrs(n.Type))
		for _, deep := range n.Body.Blocks {
			l.fail(codeUnknownBlock, where{rng: &deep.TypeRange, in: b}, "A block of type %s holds no blocks.", n.Type)
		}
		if first := seen[n.Type]; first != nil && (n.Type == "dhcp" || n.Type == "dns") {
			l.fail(codeDuplicateBlock, where{rng: &n.TypeRange, in: b}, "The network has a %s block already, at line %d.", n.Type, first.TypeRange.Start.Line)
		}
		seen[n.Type] = n
	}
}

// nestedCure says where a misplaced block belongs, or what the block does hold.
func nestedCure(b, n *hclsyntax.Block, s *blockSpec) string {
	switch {
	case slices.Contains(kindNames(specs()), n.Type):
		return fmt.Sprintf("Write it at the top level, beside %q.", b.Type)
	case slices.Contains(s.attrs, n.Type):
		return fmt.Sprintf("It is an attribute: write %s = …", n.Type)
	case len(s.nested) == 0:
		return "It holds no blocks."
	}
	return fmt.Sprintf("It holds %s.", listOf(s.nested))
}

// attributeNames are the names of a body's attributes in the order of the file.
func attributeNames(b *hclsyntax.Body) []string {
	var names []string
	for n := range b.Attributes {
		names = append(names, n)
	}
	slices.SortFunc(names, func(x, y string) int {
		return b.Attributes[x].SrcRange.Start.Byte - b.Attributes[y].SrcRange.Start.Byte
	})
	return names
}
