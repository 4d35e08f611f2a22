package schema

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Change is one alteration of a host, as data. A nil Before creates, a nil After deletes; both set change the object in
// place. Before and After are whole live objects, not deltas.
type Change struct {
	Ref    Ref
	Before Object
	After  Object
}

// Inverse is the change that takes c back.
func (c Change) Inverse() Change { return Change{c.Ref, c.After, c.Before} }

// Verb is "create", "delete" or "update".
func (c Change) Verb() string {
	switch {
	case c.Before == nil:
		return "create"
	case c.After == nil:
		return "delete"
	}
	return "update"
}

// String prints "create link/br0", or for an update its differences.
func (c Change) String() string {
	var s strings.Builder
	s.WriteString(c.Verb() + " " + c.Ref.String())
	if c.Before != nil && c.After != nil {
		for _, d := range Compare(c.Before, c.After) {
			s.WriteString(" " + d.String())
		}
	}
	return s.String()
}

type changeJSON struct {
	Ref    Ref             `json:"ref"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// MarshalJSON writes {"ref": …, "before": …, "after": …}; null stands for "is not there".
func (c Change) MarshalJSON() ([]byte, error) {
	var j changeJSON
	var err error
	j.Ref = c.Ref
	if j.Before, err = marshalObject(c.Before); err != nil {
		return nil, err
	}
	if j.After, err = marshalObject(c.After); err != nil {
		return nil, err
	}
	return json.Marshal(j)
}

func marshalObject(o Object) (json.RawMessage, error) {
	if o == nil {
		return json.RawMessage("null"), nil
	}
	return json.Marshal(o)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Change) UnmarshalJSON(b []byte) error {
	var j changeJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return fmt.Errorf("decode change: %w", err)
	}
	c.Ref = j.Ref
	var err error
	if c.Before, err = unmarshalObject(j.Ref.Kind, j.Before); err != nil {
		return err
	}
	c.After, err = unmarshalObject(j.Ref.Kind, j.After)
	return err
}

func unmarshalObject(k Kind, b json.RawMessage) (Object, error) {
	if len(b) == 0 || string(b) == "null" {
		return nil, nil
	}
	o := New(k)
	if o == nil {
		return nil, fmt.Errorf("decode object: unknown kind %q", k)
	}
	if err := json.Unmarshal(b, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", k, err)
	}
	return o, nil
}
