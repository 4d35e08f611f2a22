package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/vmnet/vmnet/apply"
	"github.com/vmnet/vmnet/providers/sessions"
)

// here finds out who runs this and who else is logged in, once. What cannot be found out is nobody, and a.unknown says why.
func (a *app) here(ctx context.Context) sessions.Who {
	if a.present == nil {
		found, err := sessions.Find(ctx)
		if err != nil {
			a.unknown = err.Error()
		}
		a.present = &found
	}
	return *a.present
}

// who is who runs this command.
func (a *app) who(ctx context.Context) apply.Who {
	return apply.Who{Login: a.here(ctx).Login, Command: commandLine(os.Args), Version: version}
}

// commandLine is what was typed, without the values of variables.
func commandLine(args []string) string {
	out := make([]string, 0, len(args))
	secret := false
	for _, arg := range args {
		name, value, assigned := strings.Cut(arg, "=")
		flag := strings.TrimLeft(name, "-") == "var" && strings.HasPrefix(name, "-")
		switch {
		case secret:
			variable, _, _ := strings.Cut(arg, "=")
			arg = variable + "=…"
		case flag && assigned:
			variable, _, _ := strings.Cut(value, "=")
			arg = name + "=" + variable + "=…"
		}
		secret = flag && !assigned
		out = append(out, arg)
	}
	return strings.Join(out, " ")
}

// tellEverybody speaks to all who are logged in, and to the host's journal.
func (a *app) tellEverybody(n apply.Announcement) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, _ = sessions.Tell(ctx, n.Text) // nobody is left to be told that nobody could be told
	fields := map[string]string{"VMNET_PLAN_ID": n.ID, "VMNET_ACTION": "watchdog"}
	if n.Result != "" {
		fields["VMNET_RESULT"] = string(n.Result)
	}
	_ = sessions.Log(context.Background(), n.Text, fields) // which has its own time
}

// record leaves a trace in the host's journal, where there is one.
func (a *app) record(action, id string, r *apply.Report) {
	who := a.who(context.Background())
	_ = sessions.Log(context.Background(), "vmnet "+action+" "+id+" by "+who.Text()+": "+string(r.Result), map[string]string{
		"VMNET_PLAN_ID": id, "VMNET_ACTION": action, "VMNET_RESULT": string(r.Result), "VMNET_WHO": who.Text(), "VMNET_ERROR": r.Error,
	}) // the history has it, too
}
