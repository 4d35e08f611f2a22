package plan

import "fmt"

var riskNames = []string{"none", "blip", "drop", "cut"}

// String is the word in plans and files: "none", "blip", "drop" or "cut".
func (r Risk) String() string { return riskNames[r] }

// MarshalText writes the word.
func (r Risk) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the word.
func (r *Risk) UnmarshalText(b []byte) error {
	for i, n := range riskNames {
		if n == string(b) {
			*r = Risk(i)
			return nil
		}
	}
	return fmt.Errorf("parse risk %q: want none, blip, drop or cut", b)
}
