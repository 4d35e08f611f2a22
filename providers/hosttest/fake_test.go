package hosttest_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmnet/vmnet/providers/hosttest"
	"github.com/vmnet/vmnet/schema"
)

func newBridge(name string) schema.Change {
	l := &schema.Link{Name: name, Type: "bridge", MAC: new("02:00:00:00:00:01"), Up: new(true)}
	return schema.Change{Ref: l.Ref(), After: l}
}

func TestFakeFails(t *testing.T) {
	tests := []struct {
		name string
		fake hosttest.Fake
		errs string // of three changes: "." works, "x" fails
		want string // links afterwards
	}{
		{"never", hosttest.Fake{}, "...", "a b c"},
		{"at 2", hosttest.Fake{FailAt: 2}, ".x.", "a c"},
		{"at 2, after acting", hosttest.Fake{FailAt: 2, FailAfter: true}, ".x.", "a b c"},
		{"from 2", hosttest.Fake{FailFrom: 2}, ".xx", "a"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			var errs string
			for _, name := range []string{"a", "b", "c"} {
				err := tt.fake.Do(t.Context(), newBridge(name))
				switch {
				case err == nil:
					errs += "."
				case errors.Is(err, hosttest.ErrInjected):
					errs += "x"
				default:
					t.Fatal(err)
				}
			}
			s, err := tt.fake.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for l := range schema.Each[*schema.Link](s) {
				names = append(names, l.Name)
			}
			if got := strings.Join(names, " "); got != tt.want || errs != tt.errs {
				t.Errorf("got links %q, errors %q; want %q, %q", got, errs, tt.want, tt.errs)
			}
		})
	}
}

func TestFakeReadIsACopy(t *testing.T) {
	f := &hosttest.Fake{State: hosttest.Fresh()}
	s, err := f.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f.ChangeBehindOurBack(func(s *schema.State) { s.Delete(schema.LinkRef("lo")) })
	if s.Link("lo") == nil {
		t.Error("what was read changed with the host")
	}
	if s, err = f.Read(t.Context()); err != nil || s.Link("lo") != nil {
		t.Errorf("the host did not change (%v)", err)
	}
}

func TestFakeDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &hosttest.Fake{Delay: time.Minute}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Do(ctx, newBridge("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := f.Do(t.Context(), newBridge("a")); err != nil {
			t.Error(err)
		}
	})
}

func TestDumpThereAndBack(t *testing.T) {
	f := &hosttest.Fake{State: hosttest.Fresh()}
	if err := f.Do(t.Context(), newBridge("br0")); err != nil {
		t.Fatal(err)
	}
	text, err := hosttest.Dump(f.State)
	if err != nil {
		t.Fatal(err)
	}
	back, err := hosttest.ParseDump(text)
	if err != nil {
		t.Fatal(err)
	}
	for o := range f.State.All() {
		if got := back.Stored(o.Ref()); !reflect.DeepEqual(got, o) {
			t.Errorf("%s came back as %+v, want %+v", o.Ref(), got, o)
		}
	}
	if back.Len() != f.State.Len() {
		t.Errorf("%d objects came back, want %d", back.Len(), f.State.Len())
	}
	_, err = hosttest.ParseDump("nosuch {}\n# a word\n\nlink {\n")
	if err == nil || !strings.Contains(err.Error(), `line 1: unknown kind "nosuch"`) || !strings.Contains(err.Error(), "line 4: link:") {
		t.Errorf("wrong lines: %v", err)
	}
}

func FuzzParseDump(f *testing.F) {
	text, err := hosttest.Dump(hosttest.Fresh())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := hosttest.ParseDump(text)
		if err != nil {
			return
		}
		if _, err := hosttest.Dump(s); err != nil {
			t.Errorf("what was parsed cannot be dumped: %v", err)
		}
	})
}
