package view

import (
	"fmt"
	"time"

	"github.com/vmnet/vmnet/apply"
)

// entryJSON is a change of the history, without its plan.
type entryJSON struct {
	ID           string              `json:"id"`
	Phase        apply.Phase         `json:"phase"`
	Result       apply.Result        `json:"result,omitempty"`
	Started      time.Time           `json:"started"`
	Ended        time.Time           `json:"ended,omitzero"`
	Who          apply.Who           `json:"who"`
	Path         string              `json:"configuration,omitempty"`
	Digest       string              `json:"digest,omitempty"`
	Steps        int                 `json:"steps"`
	SecondsLeft  *int                `json:"seconds_left,omitempty"`
	Confirmation *apply.Confirmation `json:"confirmation,omitempty"`
	Cause        string              `json:"cause,omitempty"`
	Journal      string              `json:"journal"`
}

func summary(e *apply.Entry) entryJSON {
	j := entryJSON{
		ID: e.ID, Phase: e.Phase, Result: e.Result, Started: e.Started, Ended: e.Ended, Who: e.Who, Confirmation: e.Confirmation, Cause: e.Cause,
		Journal: e.Path,
	}
	if e.Plan != nil {
		j.Path, j.Digest, j.Steps = e.Plan.Configuration.Path, e.Plan.Configuration.Digest, len(e.Plan.Steps)
	}
	if left := e.Left(); e.Phase == apply.Waiting && left >= 0 {
		j.SecondsLeft = new(int(left.Seconds()))
	}
	return j
}

// HistoryJSON lists changes as a document.
func HistoryJSON(entries []*apply.Entry) ([]byte, error) {
	doc := struct {
		FormatVersion string      `json:"format_version"`
		Changes       []entryJSON `json:"changes"`
	}{"1.0", []entryJSON{}}
	for _, e := range entries {
		doc.Changes = append(doc.Changes, summary(e))
	}
	return encode(doc)
}

// EntryJSON is one change as a document: who, when, the plan, the result.
func EntryJSON(e *apply.Entry) ([]byte, error) {
	return encode(struct {
		FormatVersion string `json:"format_version"`
		entryJSON
		Plan   any           `json:"plan"`
		Report *apply.Report `json:"report,omitempty"`
	}{"1.0", summary(e), e.Plan, e.Report})
}

// History lists changes, a line each.
func History(entries []*apply.Entry, o Options) string {
	pg := &page{o: o}
	if len(entries) == 0 {
		pg.raw("No change was made by vmnet apply yet.")
		return pg.String()
	}
	for _, e := range entries {
		steps, path := 0, ""
		if e.Plan != nil {
			steps, path = len(e.Plan.Steps), e.Plan.Configuration.Path
		}
		pg.wide(fmt.Sprintf("%s  %s  %s  %s %s", pad(clean(e.ID), 10), e.Started.Local().Format("2006-01-02 15:04:05"), pg.outcome(e),
			count(steps, "step"), clean(path)), clean(e.Who.Text()))
	}
	return pg.String()
}

// outcome is how a change ended, or how far it is.
func (pg *page) outcome(e *apply.Entry) string {
	const width = 12
	switch {
	case e.Phase == apply.Waiting:
		return pg.paint(yellow, pad("unconfirmed", width))
	case e.Phase != apply.Ended:
		return pg.paint(yellow, pad(string(e.Phase), width))
	case e.Result == apply.Applied:
		return pg.paint(green, pad(string(e.Result), width))
	case e.Result == apply.NeedsHuman || e.Result == apply.Damaged:
		return pg.paint(red, pad(string(e.Result), width))
	}
	return pad(string(e.Result), width)
}

// Entry is one change: who made it, what became of it, and its plan.
func Entry(e *apply.Entry, o Options) string {
	pg := &page{o: o}
	pg.heading("CHANGE "+e.ID, "")
	pg.facet(2, "result", pg.outcome(e))
	pg.facet(2, "began", e.Started.Local().Format(time.RFC3339)+" by "+e.Who.Text())
	if e.Who.Command != "" {
		pg.facet(2, "command", e.Who.Command)
	}
	if !e.Ended.IsZero() {
		pg.facet(2, "ended", e.Ended.Local().Format(time.RFC3339))
	}
	if c := e.Confirmation; c != nil {
		pg.facet(2, "confirmed", c.Time.Local().Format(time.RFC3339)+" by "+c.Who.Text())
	}
	if left := e.Left(); e.Phase == apply.Waiting {
		pg.facet(2, "left", fmt.Sprintf("%s until it is undone: vmnet confirm %s, or vmnet rollback %s", left.Round(time.Second), e.ID, e.ID))
	}
	if e.Cause != "" {
		pg.facet(2, "cause", e.Cause)
	}
	pg.facet(2, "journal", e.Path)
	if e.Plan == nil {
		return pg.String()
	}
	pg.blank()
	if e.Report != nil {
		pg.b.WriteString(Report(e.Report, e.Plan, o))
		pg.blank()
	}
	pg.b.WriteString(Plan(e.Plan, o))
	return pg.String()
}

// Recovered says what was left of an earlier change, and what became of it; a nil report means that nobody can tell.
func Recovered(e *apply.Entry, r *apply.Report, o Options) string {
	pg := &page{o: o}
	if r == nil {
		pg.para(0, yellow, fmt.Sprintf("Change %s cannot be read (%s): whether it was made is not known, and nobody takes it back. Its journal is in the history now.", e.ID, e.Cause))
		pg.blank()
		return pg.String()
	}
	pg.para(0, yellow, fmt.Sprintf("Change %s of %s was left %s: %s", e.ID, e.Who.Text(), left(e), r.Error))
	pg.b.WriteString(Report(r, e.Plan, o))
	pg.blank()
	return pg.String()
}

func left(e *apply.Entry) string {
	if e.Phase == apply.Waiting {
		return "unconfirmed"
	}
	return "half done"
}

// Notice says that a change is under way, or was left half done; "" for none.
func Notice(e *apply.Entry, o Options) string {
	if e == nil {
		return ""
	}
	pg := &page{o: o}
	if e.Unreadable() {
		pg.para(0, yellow, fmt.Sprintf("note: the journal %s cannot be read (%s): whether that change was made is not known", e.Path, e.Cause))
		return pg.String()
	}
	text := fmt.Sprintf("note: change %s of %s was left half done (%s, %s begun and not undone): vmnet rollback %s takes it back", e.ID, e.Who.Text(), e.Phase,
		count(len(e.Remaining()), "step"), e.ID)
	switch {
	case e.Phase == apply.Waiting && e.Rebooted():
		text = fmt.Sprintf("note: change %s of %s was not confirmed before the host was booted, which undid it: vmnet rollback %s takes back what it wrote to disk",
			e.ID, e.Who.Text(), e.ID)
	case e.Rebooted(): // whoever bears the number of one of its processes now is another
	case e.Phase == apply.Waiting && e.Left() > 0 && !e.Guarded():
		text = fmt.Sprintf("note: change %s of %s waits %s more for its confirmation, and its watchdog was killed: until vmnet apply arms another, nobody takes it back. "+
			"vmnet confirm %s, or vmnet rollback %s", e.ID, e.Who.Text(), e.Left().Round(time.Second), e.ID, e.ID)
	case e.Phase == apply.Waiting && e.Left() > 0:
		text = fmt.Sprintf("note: change %s of %s is undone in %s unless somebody confirms it: vmnet confirm %s, or vmnet rollback %s", e.ID, e.Who.Text(),
			e.Left().Round(time.Second), e.ID, e.ID)
	case e.Phase == apply.Confirmed && e.Guarded():
		text = fmt.Sprintf("note: change %s of %s is confirmed and stays: what outlasts a reboot is being written", e.ID, e.Who.Text())
	case e.Phase == apply.Confirmed:
		text = fmt.Sprintf("note: change %s of %s is confirmed and stays, but whoever confirmed it may have died before all was written that outlasts a reboot: "+
			"vmnet confirm %s, or the next vmnet apply, writes it", e.ID, e.Who.Text(), e.ID)
	case e.Applier.Alive() && e.Phase != apply.Waiting:
		text = fmt.Sprintf("note: change %s of %s is being made by process %d", e.ID, e.Who.Text(), e.Applier.PID)
	case e.Watchdog.Alive():
		text = fmt.Sprintf("note: change %s of %s is being undone by its watchdog, process %d", e.ID, e.Who.Text(), e.Watchdog.PID)
	}
	pg.para(0, yellow, text)
	return pg.String()
}
