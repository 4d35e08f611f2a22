package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-version"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/vmnet/vmnet/schema"
)

// checkVMNetBlock sees that there is a vmnet block.
func (l *loader) checkVMNetBlock() {
	if l.nodes["vmnet"][""] != nil || len(l.bodies) == 0 {
		return
	}
	at := where{rng: &hcl.Range{Filename: l.names[0], Start: hcl.InitialPos, End: hcl.InitialPos}}
	l.fail(codeNoVersion, at, "No file has a vmnet block with required_version. %s", codeInfo(codeNoVersion).Cure)
}

func (l *loader) decodeSettings(i *instance) {
	l.checkVersion(i)
	l.settings.Foreign = l.choice(i, "foreign", "fix", "report")
	l.settings.RiskLimit = l.choice(i, "risk_limit", "none", "blip", "drop", "cut")
	confirm := as(l, codeSetting, l.text(i, "confirm"), func(s string) (string, string) {
		if d, err := time.ParseDuration(s); s != "none" && (err != nil || d <= 0) {
			return "", fmt.Sprintf("%q is no time to wait for a confirmation. Write a duration such as \"120s\" or \"5m\", or \"none\".", s)
		}
		return s, ""
	})
	l.settings.Confirm = confirm.v
}

// choice reads one of a few words.
func (l *loader) choice(i *instance, name string, words ...string) string {
	return as(l, codeSetting, l.text(i, name), func(s string) (string, string) {
		if !slices.Contains(words, s) {
			quoted := make([]string, len(words))
			for k, w := range words {
				quoted[k] = fmt.Sprintf("%q", w)
			}
			return "", fmt.Sprintf("%s cannot be %q.%s It takes %s.", name, s, didYouMean(s, words), strings.ReplaceAll(listOf(quoted), " and ", " or "))
		}
		return s, ""
	}).v
}

func (l *loader) checkVersion(i *instance) {
	f := l.text(i, "required_version")
	if f.status == absent {
		l.fail(codeNoVersion, i.at(), "The vmnet block has no required_version. Write, for example: required_version = \">= 0.1\"")
	}
	constraints := as(l, codeSetting, f, func(s string) (version.Constraints, string) {
		c, err := version.NewConstraint(s)
		if err != nil {
			return nil, fmt.Sprintf("%q is no condition for a version. Write, for example: \">= 0.1\" or \">= 0.1, < 2.0\".", s)
		}
		return c, ""
	})
	v, err := version.NewVersion(l.opts.Version)
	if !constraints.ok() || err != nil {
		return
	}
	// A pre-release of 0.2 understands what is written for 0.2.
	if !constraints.v.Check(v.Core()) {
		l.fail(codeVersion, f.at, "This is vmnet %s, and the configuration requires %q. Use another version of vmnet, or widen required_version.", v, f.v)
	}
}

// adapter is a decoded adapter block.
type adapter struct {
	inst   *instance
	device field[string]
	mtu    field[uint32]
	reset  bool
}

func (l *loader) decodeAdapter(i *instance) {
	a := &adapter{inst: i, mtu: l.mtu(i), reset: l.flag(i, "reset").v}
	if i.node.repeated != single && i.body.Attributes["device"] == nil {
		l.require(i, absent, "device")
		a.device.status = wrong
	} else {
		i.suffixless(func(i *instance) { a.device = l.deviceOrLabel(i) })
	}
	i.thing = a
	l.adapters = append(l.adapters, a)
	l.byID[i.address] = a
}

// suffixless calls f with the instance under its bare name: an adapter's label is the device.
func (i *instance) suffixless(f func(*instance)) {
	c := *i
	c.suffix = ""
	f(&c)
}

// value is what adapter.eno3 gives in an expression.
func (a *adapter) value() cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"id": cty.StringVal(a.inst.address), "name": cty.StringVal(a.inst.node.name), "device": textValue(a.device), "mtu": numberValue(a.mtu),
	})
}

// sysctl is a decoded sysctl block.
type sysctl struct {
	inst  *instance
	key   field[string]
	value field[string]
}

func (l *loader) decodeSysctl(i *instance) {
	s := &sysctl{inst: i, key: l.text(i, "key")}
	switch {
	case s.key.status == absent && i.node.repeated != single:
		l.require(i, absent, "key")
		s.key.status = wrong
	case s.key.status == absent:
		s.key = field[string]{v: i.node.name, at: i.at(), status: good}
		s.key.at.rng = &i.block().LabelRanges[0]
	}
	s.key = as(l, codeSysctl, s.key, sysctlKey)
	v := l.get(i, "value")
	l.require(i, v.status, "value")
	s.value = as(l, codeSysctl, v, sysctlValue)
	l.sysctls = append(l.sysctls, s)
}

// sysctlKey reads a key with dots or with slashes between its parts, as sysctl(8) takes it.
func sysctlKey(s string) (string, string) {
	if slash, dot := strings.IndexByte(s, '/'), strings.IndexByte(s, '.'); slash >= 0 && (dot < 0 || slash < dot) {
		s = strings.NewReplacer("/", ".", ".", "/").Replace(s)
	}
	for part := range strings.SplitSeq(s, ".") {
		if strings.Trim(part, "/") == "" || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return s, fmt.Sprintf("%q is not the key of a kernel setting: its parts are separated by single dots, as in net.core.somaxconn.", s)
		}
	}
	if !strings.HasPrefix(s, "net.") {
		return s, fmt.Sprintf("%q is not a setting of the network. vmnet sets keys that begin with net.", s)
	}
	return s, ""
}

// sysctlValue gives the text the kernel is given; true and false are 1 and 0.
func sysctlValue(v cty.Value) (string, string) {
	if v.Type() == cty.Bool {
		return map[bool]string{true: "1", false: "0"}[v.True()], ""
	}
	s, ok := toText(v)
	if !ok {
		return "", fmt.Sprintf("value is a number, a text, true or false, not %s.", article(v.Type()))
	}
	out := strings.Join(strings.Fields(s), " ")
	if out == "" || strings.ContainsFunc(out, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", "The value is empty or has characters that no kernel setting takes."
	}
	return out, ""
}

// object is the setting as the model knows it.
func (s *sysctl) object() *schema.Sysctl { return &schema.Sysctl{Key: s.key.v, Value: s.value.v} }
