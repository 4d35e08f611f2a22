package plan

import (
	"slices"
	"strings"
	"testing"

	"github.com/vmnet/vmnet/plan/checks"
	"github.com/vmnet/vmnet/schema"
)

// Hosts that real programs have set up are healthy, and their networks are found.
func TestDiagnoseRealHosts(t *testing.T) {
	networks := 0
	for _, r := range realHosts(t) {
		d := Diagnose(r.state, checks.All())
		networks += len(d.Networks)
		for _, f := range d.Findings {
			if f.Code == "VN133" && r.name == "all" {
				continue // ufw and firewalld were both started there
			}
			t.Errorf("%s: %s %s: %v", r.name, f.Code, f.Title, f.Evidence)
		}
		for _, q := range d.Questions {
			if q.Status == "fail" {
				t.Errorf("%s: %s: %s", r.name, q.Text, q.Why)
			}
		}
	}
	if networks < 15 {
		t.Errorf("%d networks were found on all of them", networks)
	}
}

// A rule that cuts libvirt's guests off is named, with whose it is; without it nothing is wrong.
func TestDiagnoseNamesTheCulprit(t *testing.T) {
	for _, r := range realHosts(t) {
		if r.name != "libvirt" {
			continue
		}
		s := r.state.Clone()
		s.Put(&schema.Table{Family: "inet", Name: "f2b-table", Chains: []*schema.Chain{{Name: "c", Type: "filter", Hook: "input", Policy: "drop"}}})
		s.Put(&schema.Table{Family: "inet", Name: "mine", Chains: []*schema.Chain{{Name: "forward", Type: "filter", Hook: "forward", Policy: "drop"}}})
		d := Diagnose(s, checks.All())
		var codes []string
		for _, f := range d.Findings {
			codes = append(codes, f.Code+" "+f.Severity+" "+f.Object)
		}
		if !slices.Contains(codes, "VN411 error table/inet mine") || !slices.Contains(codes, "VN411 info table/inet f2b-table") {
			t.Errorf("findings %q", codes)
		}
		networks, guests := d.Concerned()
		if len(networks) != 1 || networks[0].Address != "nat.virbr0" || len(guests) != 1 || guests[0].Device != "vnet0" {
			t.Errorf("a file would be of %+v and %+v", networks, guests)
		}
		failing := 0
		for _, q := range d.Questions {
			if q.Status == "fail" && strings.Contains(q.Why, "policy drop") {
				failing++
			}
		}
		if failing != 3 || d.Wrong() != 1 {
			t.Errorf("%d questions fail, %d things are wrong: %+v", failing, d.Wrong(), d.Questions)
		}
		if one := Diagnose(s, checks.All()[:1]); len(one.Questions) > 0 || len(one.Examined) != 1 {
			t.Errorf("one check asks %v", one.Questions)
		}
		return
	}
	t.Fatal("no recorded host of libvirt")
}
