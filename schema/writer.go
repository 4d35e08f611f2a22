package schema

import (
	"fmt"
	"slices"
)

// Writer is who made a generation of the nftables ruleset, as the kernel told those who listened (nft monitor does the same).
type Writer struct {
	// Gen is the generation that it made; each transaction raises it by one.
	Gen uint32 `json:"gen"`
	// PID is the process; one of its threads where it had ended before it was looked at, for that is what the kernel tells (task_pid_nr in
	// net/netfilter/nf_tables_api.c), counted as in the first PID namespace. Name is the thread's comm (proc_pid_comm(5)).
	PID  uint32 `json:"pid"`
	Name string `json:"name"`
	// Command is its command line, cut to 200 bytes; "" when it had ended before it was looked at.
	Command string `json:"command,omitempty"`
	// Tables are the tables it changed.
	Tables []Ref `json:"tables,omitempty"`
	// Own is true for transactions of this very vmnet; those of programs that it starts are others'.
	Own bool `json:"own,omitempty"`
}

// String prints "nft (pid 4711)", with the command line where that is known.
func (w Writer) String() string {
	if w.Command != "" && w.Command != w.Name {
		return fmt.Sprintf("%s (pid %d: %s)", w.Name, w.PID, w.Command)
	}
	return fmt.Sprintf("%s (pid %d)", w.Name, w.PID)
}

// LastWriter is the last of several writers, in the order of their generations, that changed a table and is not this vmnet; false
// for none.
func LastWriter(all []Writer, table Ref) (Writer, bool) {
	for _, w := range slices.Backward(all) {
		if !w.Own && slices.Contains(w.Tables, table) {
			return w, true
		}
	}
	return Writer{}, false
}
