package config

import (
	"fmt"

	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// protect is a decoded protect block.
type protect struct {
	inst  *instance
	iface field[string]
	flows []flow
}

func (l *loader) decodeProtect(i *instance) {
	p := &protect{inst: i, iface: l.protectedInterface(i)}
	for _, b := range i.body.Blocks {
		if b.Type != "flow" {
			continue
		}
		in := i.inner(b)
		for _, name := range []string{"from", "to"} {
			if b.Body.Attributes[name] == nil {
				l.fail(codeMissing, where{rng: &b.TypeRange, in: i.block()}, "The flow needs %s. Write, for example: %s", name, exampleOfEnd(name))
			}
		}
		p.flows = append(p.flows, l.flow(in))
	}
	if len(p.flows) == 0 && p.iface.status == absent {
		l.fail(codeMissing, i.at(), "%s protects nothing. Give it an interface, or a flow: flow { from = \"198.51.100.0/24\" to = host tcp = 22 }, with a line for each.", i.node.id())
	}
	l.protects = append(l.protects, p)
}

func exampleOfEnd(name string) string {
	if name == "to" {
		return "to = host"
	}
	return `from = "198.51.100.0/24"`
}

// protectedInterface is a device's name, or that of a network or adapter of the file.
func (l *loader) protectedInterface(i *instance) field[string] {
	f := l.get(i, "interface")
	if f.ok() {
		switch b := l.byID[idOf(f.v)].(type) {
		case *network:
			return field[string]{v: b.device.v, at: f.at, status: b.device.status}
		case *adapter:
			return field[string]{v: b.device.v, at: f.at, status: b.device.status}
		}
	}
	s := as(l, codeWrongType, f, func(v cty.Value) (string, string) {
		s, ok := toText(v)
		if !ok {
			return "", fmt.Sprintf("interface takes the name of a device, a network or an adapter, not %s. Write, for example: interface = \"eno1\"", article(v.Type()))
		}
		return s, ""
	})
	return as(l, codeDeviceName, s, deviceName)
}

// compileProtects lists what no plan may cut, in the order of the file.
func (c *compiler) compileProtects() {
	for _, p := range c.protects {
		out := schema.Protect{Address: p.inst.address, Interface: p.iface.v}
		for _, f := range p.flows {
			for g := range combinations(c.ends(f.from), c.ends(f.to), f.services) {
				g.Address, g.Allow = p.inst.address, true
				g.Name = sentence(g)
				out.Flows = append(out.Flows, g)
			}
		}
		c.d.Protects = append(c.d.Protects, out)
	}
}
