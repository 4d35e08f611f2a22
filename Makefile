# Two commands matter: "make demo" and "make test". Each does its own set-up on a fresh Debian or Ubuntu with Go.

GOLANGCI = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.13.1
GOVULN   = golang.org/x/vuln/cmd/govulncheck@v1.1.4
FUZZTIME = 10s

.PHONY: demo build test lint fuzz bench oracle torture zoo tools

build:
	CGO_ENABLED=0 go build -trimpath -o bin/vmnet ./cmd/vmnet

# The whole loop in a private network namespace: no root, nothing on this host is touched.
demo: build
	./bin/vmnet demo

# Every test, on the real kernel in namespaces of its own. As root, and as an ordinary user where user namespaces are on.
# The programs that judge us (nft, iptables, ip) are installed if they are missing.
# -race needs a C compiler. It makes sets of packets ten times slower, so that it looks only where goroutines meet.
CONCURRENT = ./cmd/vmnet/... ./providers ./providers/nft ./providers/sockets ./providers/hosttest/world
RACE = $(shell command -v gcc >/dev/null && echo -race)

test: tools
	go vet ./...
	go test -shuffle=on -timeout 20m ./...
	go test $(RACE) -timeout 20m $(CONCURRENT)

# What the tests run, as apt calls it. The managers among it are run in namespaces of the tests, by any user; but installed
# on a machine that boots with systemd they would be switched on: there it is for you to decide, unless CI is set
# (a container is the easy way).
JUDGES     = nft iptables-nft iptables-legacy ip gcc qemu-system-x86_64 xz
MANAGERS   = dockerd ufw firewalld dbus-daemon fail2ban-server libvirtd virsh dnsmasq sshd ssh tmux
JUDGE_PKG  = nftables iptables iproute2 gcc libc6-dev qemu-system-x86 xz-utils
MANAGER_PKG = docker.io ufw firewalld dbus fail2ban libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu dnsmasq-base openssh-server openssh-client tmux
# The kernel that some tests boot (qemu), kept in the user's cache.
GUEST      = ./providers/hosttest/guest/fetch
APT        = apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends

tools:
	@for t in $(JUDGES); do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $$t >/dev/null && continue; \
	  if [ $$(id -u) != 0 ]; then echo "missing $$t: run as root once: apt-get install -y $(JUDGE_PKG)" >&2; exit 1; fi; \
	  { $(APT) $(JUDGE_PKG) >/dev/null; } || exit 1; \
	done
	@for t in $(MANAGERS); do \
	  PATH=$$PATH:/usr/sbin:/sbin command -v $$t >/dev/null && continue; \
	  if [ $$(id -u) != 0 ] || [ -z "$$CI" -a -d /run/systemd/system ]; then \
	    echo "missing $$t, which the tests run in namespaces of their own. As root, in a container or where it may be switched on:" >&2; \
	    echo "  apt-get install -y --no-install-recommends $(MANAGER_PKG)" >&2; exit 1; fi; \
	  { $(APT) $(MANAGER_PKG) >/dev/null; } || exit 1; \
	done
	@go run $(GUEST) || { [ $$(id -u) = 0 ] && apt-get update -qq && go run $(GUEST); }

lint:
	go run $(GOLANGCI) run ./...
	@out=$$(go run $(GOLANGCI) fmt --diff ./... 2>&1); test -z "$$out" || { echo "$$out"; exit 1; }

fuzz:
	@go list -f '{{.Dir}}' ./... | while read d; do \
	  for f in $$(grep -hos 'func Fuzz[A-Za-z0-9_]*' $$d/*_test.go | sed 's/func //'); do \
	    echo "$$d $$f"; (cd $$d && go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) .) || exit 1; done; done

bench:
	go test -run '^$$' -bench . -benchmem ./...

# Ten million random and boundary frames through sixteen thousand random rulesets, judged by vmnet and by the kernel. The seed
# is printed, and what was judged so far every ten seconds; a disagreement is made small and kept in $(FOUND).
RULESETS = 16000
FOUND    = $(CURDIR)/bin/found

oracle: tools
	go test ./plan/trace -run 'TestOracleFrames$$' -v -timeout 0 -oracle.frames.rulesets=$(RULESETS) -oracle.found=$(FOUND) $(if $(SEED),-oracle.seed=$(SEED))

# A thousand random moments at which vmnet, its watchdog, its disk or its ground is taken away while it changes a random host.
# The seed of each moment is printed with what failed: make torture SEED=... repeats it.
MOMENTS = 1000

torture: tools
	TORTURE=$(MOMENTS) $(if $(SEED),TORTURE_SEED=$(SEED)) go test ./apply/torture -count=1 -v -timeout 0

# Every known fault: made, shown with real packets, named, repaired, shown again; alone and together with others. Writes the
# table apply/zoo/README.md with the times. make zoo SEED=... repeats which are run together.
zoo: tools
	go test ./apply/zoo -count=1 -v -timeout 0 -zoo.all $(if $(SEED),-zoo.seed=$(SEED))
