// Package view turns plans, traces, diagnostics and reports into text, Markdown and JSON.
//
// Every function here is pure: the same document gives the same bytes. It decides nothing and reads nothing; text and
// Markdown are made from what the JSON says, so that they cannot disagree. Read page first, then plan.go.
//
// # Why
//
// Names, comments and rules of a host are written by anybody on it, and plans are read on terminals with privileges: every
// string that did not come from this package goes through clean, which takes control characters away.
package view
