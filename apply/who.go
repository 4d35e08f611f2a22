package apply

import "github.com/vmnet/vmnet/providers/sessions"

// Who is who makes, confirms or undoes a change.
type Who struct {
	Login sessions.Login `json:"login"`
	// Command is the command line, without the values of variables: those may be secrets.
	Command string `json:"command,omitempty"`
	Version string `json:"version,omitempty"`
}

// Text is "alice from 198.51.100.7", or less where less is known.
func (w Who) Text() string {
	text := w.Login.User
	if w.Login.SudoUser != "" {
		text = w.Login.SudoUser
	}
	if text == "" {
		text = "somebody"
	}
	switch {
	case w.Login.From != "":
		return text + " from " + w.Login.From
	case w.Login.TTY != "":
		return text + " on " + w.Login.TTY
	}
	return text
}
