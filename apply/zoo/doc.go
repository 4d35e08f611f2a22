// Package zoo is the collection of known faults: each one a text that says how a healthy host is broken, what must be said of
// it, and whether it is repaired. Nothing of vmnet imports it; its tests run every case on the real kernel, with real packets.
//
// A case is a file of cases/, in the form of txtar (golang.org/x/tools/txtar): lines "key: value", then files.
//
//	id: FW-01                          stable; the file is called fw-01-….txtar
//	variant: docker                    where there are several cases of one fault
//	title: what is broken, in a line
//	says: how a user tells it
//	outcome: repaired                  or reported, healthy (a look-alike), uncovered
//	reason: …                          of what is uncovered
//	bed: namespace                     the default; "neighbour docker ufw": beside these programs; "guest": on a second kernel
//	break: ufw                         programs of the bed that are started to break it; the others run from the beginning
//	world: nat                         a file of worlds/, the default
//	alone: …                           why the case is not run together with others
//	touches: vnet0 FORWARD             names of what it breaks: two cases that touch the same are not run together
//	unlike: REGEXP                     lines that a repair may bring although they bear no mark: how an owner keeps what it was told
//	leaves: REGEXP                     lines that an owner leaves behind when it is told to forget
//	opens: REGEXP                      what a repair may open beside what the file asks for, and says so
//	source: …                          where it was reported
//	-- also.vmnet.hcl --               more of the file that vmnet is given, or config.vmnet.hcl: all of it
//	-- healthy.sh --                   run on the host before vmnet is
//	-- before.sh --                    run on the host before the programs of "break" start
//	-- break.sh --                     run on the host to break it: on GUEST COMMAND runs one in a guest, or on the lan
//	-- flows --                        asked in addition to those of the world
//	db1 > internet tcp/80: broken      it passes, passes not when broken, passes after the repair
//	lan > 10.20.0.11 tcp/22: never     at no time
//	db1 > web1 icmp: ok                at all times, which is the default
//	* > internet: broken               so are all flows of the world that fit
//	db1 > internet tcp/80 size 200000 as 192.0.2.10: broken   with so many bytes there and back; the server sees that address
//	-- findings --                     what a plan must say of the broken host: all of it, and nothing else that is an error or a warning
//	VN411 error
//	title: REGEXP
//	owner: REGEXP
//	evidence: REGEXP
//	fix: REGEXP
//	-- doctor --                       what is said of the broken host without a file, and not of the healthy one: all of it, in the same form
//	-- root/etc/iptables/rules.v4 --   a file of the healthy host
//	-- broken/etc/iptables/rules.v4 -- a file that comes with the fault
//
// The run of a case: the healthy host is applied and asked → broken, and the symptom shown → planned: exactly the findings →
// applied → every flow passes → what others own is as before the fault, or untouched by us → the next plan is empty → an
// empty configuration is applied, and nothing of ours is left. Where it is only reported there is no step, and nothing
// changes. A look-alike has no finding and no step.
//
// README.md is the table of all of it. "make zoo" runs everything and writes the table; "go test" a bounded share.
package zoo
