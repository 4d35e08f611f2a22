package apply

import "github.com/vmnet/vmnet/plan"

// The codes of what can be wrong with applying a plan: VN8xx with the plan or the host, VN9xx with its safety.
const (
	CodeStale      = "VN801"
	CodeMisfit     = "VN802"
	CodeRolledBack = "VN803"
	CodeNeedsHuman = "VN804"
	CodeBusy       = "VN805"
	CodeLeftover   = "VN806"
	CodeBlind      = "VN807"
	CodePending    = "VN808"
	CodeSameLogin  = "VN809"
	CodeTooLate    = "VN810"
	CodeNoUndo     = "VN811"
	CodeLockout    = "VN900"
	CodeRiskLimit  = "VN901"
	CodeForeign    = "VN902"
	CodeBreaks     = "VN904"
)

// Codes explains them.
func Codes() []plan.CodeInfo {
	return []plan.CodeInfo{
		{Code: CodeStale, Title: "the plan is stale", Text: "A plan carries every fact it relied on: the objects it changes, what they stand on, and what decides its expectations. apply reads them again and refuses the plan when one has changed, because its steps may then be wrong, or its promises. Nothing was changed. Plan again; objects that the plan does not rely on may change freely."},
		{Code: CodeMisfit, Title: "the plan is not for this host, this boot or this time", Text: "A saved plan holds for one host (the hash of its machine id), one boot of it, and 24 hours. A plan made from a snapshot holds for no host: it is for reading. Plan again on the host itself."},
		{Code: CodeRolledBack, Title: "applied, then rolled back", Text: "A step failed, or the host did not become what was planned (a new plan was not empty, or an expectation that held before no longer did), or it was interrupted. Every step that had been made was taken back, last first, and the host was compared with what it was before."},
		{Code: CodeNeedsHuman, Title: "the host needs a human", Text: "A step failed and something could not be taken back: most often because somebody else changed the same object meanwhile, which vmnet never overwrites. The report names each step that remains and each fact that is not as before; the journal that is named holds every object as it was. Put it right and plan again; vmnet rollback ID tries once more to take back what remains."},
		{Code: CodeBusy, Title: "another vmnet changes this host", Text: "One change at a time: the lock's holder is named. Wait, or give --lock-timeout. A lock cannot be stale: the kernel releases it when its process ends."},
		{Code: CodeLeftover, Title: "an earlier change was left half done", Text: "The process that made it was killed, or the host lost power, and its watchdog with it. The journal in /var/lib/vmnet/changes holds both sides of every step, and which were begun. vmnet rollback takes back what was made and says what is as before; vmnet apply does that by itself before it plans. After a reboot only what was written to disk is left to take back. Nothing of it ever blocks another apply."},
		{Code: CodePending, Title: "a change waits for its confirmation", Text: "One change at a time: the host waits for somebody to say, from a new login, that the last one is good. vmnet confirm lets it stay, vmnet rollback takes it back at once, and at its deadline the watchdog does. vmnet history names who made it."},
		{Code: CodeSameLogin, Title: "the login that made the change, or one from before it, cannot confirm it", Text: "A connection that is open lives on where no new one gets in: it proves nothing. Log in anew, from where you will have to get in later, and type vmnet confirm there. --from-this-session confirms all the same, for those who sit at the console or know another way in."},
		{Code: CodeTooLate, Title: "there is nothing to confirm", Text: "The change was taken back already, is being taken back, or the host was booted since. vmnet history says what became of it. Plan again."},
		{Code: CodeNoUndo, Title: "the plan has steps that cannot be taken back", Text: "Each step carries its inverse, which the watchdog would run. That of a step marked irreversible does not bring back everything, and the plan says what not: a port that leaves a VLAN-aware bridge loses its VLANs, a bridge that is deleted the programs on it, for vmnet reads these and does not write them. If anything goes wrong after such a step, the host is not as before (exit 7). Give --accept-irreversible, or take the step out of the plan."},
		{Code: CodeBlind, Title: "not everything could be read", Text: "Reading all rules needs CAP_NET_ADMIN. What was not seen is named; a plan made without it may be wrong, says so, never says \"No changes\", and is not applied. Run vmnet as root. Another user with CAP_NET_ADMIN also needs to read what is for root and its group: /proc/net/ip_tables_names where legacy iptables is loaded, and the files of ufw or firewalld while these have rules in the kernel; in a unit of systemd, SupplementaryGroups=root."},
		{Code: CodeLockout, Title: "the plan may lock you out", Text: "The plan cuts the connection you are logged in over, new logins from where you are, something that a protect block names, or the default gateway; or it cannot be told whether it does. The findings VN905, VN906 and VN907 say which, at which step, and by what. Nothing was changed. Correct the file, or give --accept-lockout together with a time for confirmation: unless somebody confirms from a new login until then, everything is taken back."},
		{Code: CodeRiskLimit, Title: "the plan's risk is above the limit", Text: "risk_limit in the vmnet block bounds the worst a plan may do: none, blip (under a second, no flow dies), drop (flows die; the default), cut (the management path dies). Raise it for this change, or do the risky part separately."},
		{Code: CodeForeign, Title: "rules of others would have to change", Text: "foreign = \"report\" in the vmnet block lets vmnet name rules that it does not own, and not change them. Some of them break what the file asks for. Change them at their owner, or set foreign = \"fix\"."},
		{Code: CodeBreaks, Title: "the plan breaks what holds now", Text: "An expectation holds on the live host and would fail after the plan: two blocks of the file contradict each other, or the file expects what its own networks forbid. apply would have to take everything back, so it does not begin. The finding VN601 or VN602 of the plan names the expectation and what decides it: correct the file."},
	}
}
