package plan

// signature recognises a program by what it leaves in the kernel and on the disk.
type signature struct {
	owner string
	// tables and chains bear names that nobody else uses, with "*" at an end as wildcard.
	tables, chains []string
	// weak are names that anybody may use: they count only in a table with one of chains.
	weak []string
	// open are chains that the program leaves to others: what stands there is not its own.
	open []string
	// comments and sets belong to single rules: their comment, and the ipset or set they look into.
	comments, sets []string
	// shape tells rules that bear no name of their owner by their exact form; "" for not its own.
	shape shape
	// policies are the hooks of builtin chains whose policy the program sets.
	policies []string
	// control is true for privacy and security controls: named, never opened.
	control bool
	// hint is the owner's own way to let a flow pass, in a few words; way the command for one flow, where there is one.
	hint string
	way  func(wish) string
	// reload says what becomes of a live edit of its chains.
	reload string
	// signs are lines of files that show the program to be at work; pids and units its processes.
	signs       []sign
	pids, units []string
}

// sign is a line of a file: what follows key, up to the end of the line, must be one of values (none: anything).
type sign struct {
	path, key string
	values    []string
}

// signatures are ordered: of two that fit, the first is meant. Names are from the programs' sources and documentation:
// docs.docker.com (packet filtering), libvirt.org (firewall.html, formatnwfilter.html), ufw-framework(8), firewalld's
// nftables.py and ipXtables.py, kubernetes/pkg/proxy, projectcalico/felix/rules, cilium/pkg/datapath/iptables,
// tailscale/util/linuxfw, wg-quick(8), containers/netavark, containernetworking/plugins, flannel/pkg/trafficmngr,
// NetworkManager's nm-firewall-utils.c, systemd's firewall-util-nft.c, nixpkgs' firewall modules, vyos-1x, pve-firewall
// and proxmox-firewall, fail2ban's action.d, crowdsec's firewall bouncer, sshguard, csf's readme.txt, shorewall.conf(5).
var signatures = []signature{
	{
		owner: "docker", tables: []string{"docker-bridges"},
		chains: []string{
			"DOCKER", "DOCKER-FORWARD", "DOCKER-CT", "DOCKER-BRIDGE", "DOCKER-INTERNAL", "DOCKER-INGRESS",
			"DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-USER",
		},
		open: []string{"DOCKER-USER"}, shape: dockerShape, policies: []string{"forward"},
		hint: "rules in DOCKER-USER", way: dockerWay,
		reload: "Docker keeps the rules of DOCKER-USER when it restarts and writes its other chains anew; a reboot takes both away",
		pids:   []string{"/run/docker.pid"}, units: []string{"docker"},
	},
	{
		owner: "libvirt nwfilter", tables: []string{"libvirt_nwfilter*"},
		chains: []string{"libvirt-in", "libvirt-out", "libvirt-in-post", "libvirt-host-in", "libvirt-I-*", "libvirt-O-*", "libvirt-J-*", "libvirt-P-*"},
		weak:   []string{"FI-*", "FO-*", "HI-*", "FJ-*", "FP-*", "HJ-*", "I-*", "O-*", "J-*", "P-*"},
		hint:   "virsh nwfilter-edit, or the guest's <filterref>",
		reload: "libvirt writes a guest's filters anew when the guest starts or its filter is edited",
		pids:   []string{"/run/libvirtd.pid"}, units: []string{"libvirtd"},
	},
	{
		owner: "libvirt", tables: []string{"libvirt_network"},
		chains: []string{"LIBVIRT_INP", "LIBVIRT_OUT", "LIBVIRT_FWI", "LIBVIRT_FWO", "LIBVIRT_FWX", "LIBVIRT_PRT"},
		shape:  libvirtShape,
		hint:   "the network's XML or a hook in /etc/libvirt/hooks", way: libvirtWay,
		reload: "libvirt writes its chains anew when it restarts, or a network starts",
		pids:   []string{"/run/libvirtd.pid", "/run/virtnetworkd.pid"}, units: []string{"libvirtd", "virtnetworkd"},
	},
	{
		owner: "ufw",
		chains: []string{
			"ufw-before-*", "ufw-after-*", "ufw-user-*", "ufw-reject-*", "ufw-track-*", "ufw-logging-*", "ufw-skip-to-policy-*", "ufw-not-local",
			"ufw6-before-*", "ufw6-after-*", "ufw6-user-*", "ufw6-reject-*", "ufw6-track-*", "ufw6-logging-*", "ufw6-skip-to-policy-*",
		},
		weak: []string{"ufw-*", "ufw6-*"}, policies: []string{"input", "forward", "output"},
		hint: "ufw route allow, ufw allow in on", way: ufwWay,
		reload: "ufw reload writes its chains anew from /etc/ufw",
		signs:  []sign{{"/etc/ufw/ufw.conf", "ENABLED=", []string{"yes"}}},
	},
	{
		owner: "firewalld", tables: []string{"firewalld"},
		chains: []string{
			"INPUT_ZONES", "INPUT_ZONES_SOURCE", "FORWARD_IN_ZONES", "FORWARD_IN_ZONES_SOURCE", "FORWARD_OUT_ZONES", "FORWARD_OUT_ZONES_SOURCE",
			"FORWARD_ZONES", "PREROUTING_ZONES", "PREROUTING_ZONES_SOURCE", "POSTROUTING_ZONES", "POSTROUTING_ZONES_SOURCE",
			"INPUT_direct", "FORWARD_direct", "OUTPUT_direct", "PREROUTING_direct", "POSTROUTING_direct",
		},
		weak: []string{"FWDI_*", "FWDO_*", "FWD_*", "IN_*", "OUT_*", "PRE_*", "POST_*", "*_POLICIES_pre", "*_POLICIES_post"},
		hint: "firewall-cmd --zone", way: firewalldWay,
		reload: "firewall-cmd --reload writes its table anew and forgets what only its runtime was told; before firewalld 2.0 it also flushes the iptables rules of everybody else: Docker's, libvirt's, your own",
		signs:  []sign{{"/etc/firewalld/firewalld.conf", "FirewallBackend=", nil}},
		pids:   []string{"/run/firewalld.pid"}, units: []string{"firewalld"},
	},
	{
		owner: "incus", tables: []string{"incus"}, comments: []string{"generated for Incus network *"},
		hint: "incus network set", way: incusWay("incus"), reload: "Incus writes a network's rules anew when it starts", units: []string{"incus"},
	},
	{
		owner: "lxd", tables: []string{"lxd"}, comments: []string{"generated for LXD network *"},
		hint: "lxc network set", way: incusWay("lxc"), reload: "LXD writes a network's rules anew when it starts", units: []string{"snap.lxd.daemon"},
	},
	{
		owner: "kube-router", chains: []string{"KUBE-ROUTER-*", "KUBE-POD-FW-*", "KUBE-NWPLCY-*"},
		hint: "a NetworkPolicy", reload: "kube-router writes them anew within minutes", units: []string{"kubelet", "k3s"},
	},
	{
		owner: "kube-proxy", tables: []string{"kube-proxy"},
		chains: []string{
			"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-FORWARD", "KUBE-FIREWALL", "KUBE-POSTROUTING", "KUBE-PROXY-*",
			"KUBE-MARK-*", "KUBE-SVC-*", "KUBE-SEP-*", "KUBE-FW-*", "KUBE-EXT-*", "KUBE-XLB-*", "KUBE-SVL-*", "KUBE-NODE-PORT", "KUBE-LOAD-BALANCER",
			"KUBE-IPVS-*", "KUBE-SOURCE-RANGES-*", "KUBE-KUBELET-CANARY",
		},
		comments: []string{
			"kubernetes service portals*", "kubernetes externally-visible service portals*", "kubernetes health check service ports*",
			"kubernetes forwarding rules*", "kubernetes load balancer firewall*", "kubernetes postrouting rules*", "kubernetes firewall for dropping *",
			"kubernetes ipvs access filter*", "kubernetes service nodeports*", "kubernetes forwarding conntrack *",
		},
		sets: []string{"KUBE-*"}, hint: "a NetworkPolicy, or kube-proxy's configuration",
		reload: "kube-proxy writes its chains anew, within 30 seconds by default", units: []string{"kubelet", "k3s"},
	},
	{
		owner: "calico", tables: []string{"calico"}, chains: []string{"cali-*"}, sets: []string{"cali40*", "cali60*"}, shape: calicoShape,
		hint: "FelixConfiguration or a GlobalNetworkPolicy", reload: "Felix puts its rules back within seconds", units: []string{"kubelet", "k3s"},
	},
	{
		owner: "cilium", chains: []string{"CILIUM_*", "OLD_CILIUM_*"}, comments: []string{"cilium-feeder:*", "cilium-xfrm-notrack:*"},
		hint: "a CiliumNetworkPolicy", reload: "the Cilium agent writes its chains anew when it restarts", units: []string{"kubelet", "k3s"},
	},
	{
		owner: "antrea", chains: []string{"ANTREA-*"}, comments: []string{"Antrea:*"}, hint: "an Antrea NetworkPolicy",
		reload: "the Antrea agent writes them anew", units: []string{"kubelet"},
	},
	{
		owner: "flannel", tables: []string{"flannel-ipv4", "flannel-ipv6"}, chains: []string{"FLANNEL-FWD", "FLANNEL-POSTRTG"},
		comments: []string{"flanneld forward*", "flanneld masq*"}, hint: "flanneld's own configuration",
		reload: "flanneld puts its rules back within seconds", units: []string{"kubelet", "k3s"},
	},
	{
		owner: "tailscale", chains: []string{"ts-input", "ts-forward", "ts-postrouting"},
		hint: "tailscale set --exit-node-allow-lan-access, --netfilter-mode", way: func(wish) string { return "tailscale set --exit-node-allow-lan-access=true" },
		reload: "tailscaled writes its chains anew when it starts, or its settings change", units: []string{"tailscaled"},
	},
	{
		owner: "wg-quick", tables: []string{"wg-quick-*"}, comments: []string{"wg-quick(8) rule for *"}, control: true,
		hint: "AllowedIPs, or PostUp in /etc/wireguard", reload: "wg-quick writes them when the tunnel comes up",
	},
	{
		owner: "mullvad", tables: []string{"mullvad", "mullvadmangle4", "mullvadmangle6"}, control: true,
		hint: "the client's own allow list", way: func(wish) string { return "mullvad lan set allow" }, units: []string{"mullvad-daemon"},
	},
	{
		owner: "nordvpn", tables: []string{"nordvpn"}, comments: []string{"nordvpn", "nordvpn-exit-node", "nordvpn_transient"}, control: true,
		hint: "the client's own allow list", way: nordWay, units: []string{"nordvpnd"},
	},
	{owner: "ivpn", chains: []string{"IVPN-IN*", "IVPN-OUT*", "IVPN-FORWARD*"}, control: true, hint: "ivpn firewall -lan_allow", units: []string{"ivpn-service"}},
	{owner: "expressvpn", chains: []string{"evpn.*", "xvpn_*"}, control: true, hint: "expressvpn preferences set network_lock", units: []string{"expressvpn", "expressvpn-service"}},
	{owner: "pia", chains: []string{"piavpn.*"}, control: true, hint: "piactl set allowlan true"},
	{owner: "windscribe", chains: []string{"windscribe_*"}, control: true, hint: "the client's firewall settings"},
	{
		owner: "fail2ban", tables: []string{"f2b-table"}, chains: []string{"f2b-*"}, sets: []string{"f2b-*"}, control: true,
		hint: "fail2ban-client unbanip", way: fail2banWay, reload: "fail2ban bans again what it still remembers when it restarts",
		pids: []string{"/run/fail2ban/fail2ban.pid"}, units: []string{"fail2ban"},
	},
	{
		owner: "crowdsec", tables: []string{"crowdsec", "crowdsec6"}, chains: []string{"CROWDSEC_CHAIN"},
		sets: []string{"crowdsec-blacklists*", "crowdsec6-blacklists*"}, control: true, hint: "cscli decisions delete", way: crowdsecWay,
		units: []string{"crowdsec-firewall-bouncer"},
	},
	{
		owner: "sshguard", tables: []string{"sshguard"}, chains: []string{"sshguard"}, sets: []string{"sshguard4", "sshguard6"}, control: true,
		hint: "/etc/sshguard/whitelist", pids: []string{"/run/sshguard.pid"}, units: []string{"sshguard"},
	},
	{owner: "imunify360", chains: []string{"imunify360*", "IMUNIFY360*"}, sets: []string{"i360.*"}, control: true, hint: "imunify360-agent whitelist ip add"},
	{owner: "psad", chains: []string{"PSAD_BLOCK_*"}, control: true, hint: "psad --fw-rm-block-ip"},
	{
		owner: "csf", chains: []string{"LOCALINPUT", "LOCALOUTPUT", "LOGDROPIN", "LOGDROPOUT"}, control: true,
		weak: []string{"DENYIN", "DENYOUT", "ALLOWIN", "ALLOWOUT", "INVALID", "INVDROP", "SMTPOUTPUT", "SYNFLOOD", "PORTFLOOD", "UDPFLOOD", "BOGON", "CC_*"},
		hint: "csf -a", policies: []string{"input", "forward", "output"}, reload: "csf -r writes everything anew",
		signs: []sign{{"/etc/csf/version.txt", "", nil}}, pids: []string{"/run/lfd.pid"}, units: []string{"lfd"},
	},
	{owner: "azure agent", shape: azureShape, control: true, hint: "waagent.conf, OS.EnableFirewall", reload: "waagent puts it back within minutes"},
	{owner: "oracle cloud", chains: []string{"InstanceServices"}, control: true, hint: "leave it: it guards the instance's boot volume"},
	{owner: "podman", tables: []string{"netavark"}, chains: []string{"NETAVARK*"}, comments: []string{"netavark *"}, hint: "containers.conf, firewall_driver", reload: "podman network reload writes its chains anew"},
	{
		owner: "cni", tables: []string{"cni_hostport", "cni_plugins_*"}, chains: []string{"CNI-*"}, comments: []string{"CNI portfwd *", "CNI firewall plugin *"},
		hint: "the network's file in /etc/cni/net.d", reload: "CNI plugins write them when a container starts",
	},
	{
		owner: "proxmox", tables: []string{"proxmox-firewall", "proxmox-firewall-guests"}, chains: []string{"PVEFW-*"}, sets: []string{"PVEFW-*"},
		weak: []string{"tap*", "veth*", "GROUP-*", "fwbr*"}, hint: "/etc/pve/firewall", reload: "pve-firewall writes its chains anew every ten seconds",
		pids: []string{"/run/pve-firewall.pid"}, units: []string{"pve-firewall", "proxmox-firewall"},
	},
	{owner: "networkd", tables: []string{"io.systemd.nat"}, hint: ".network files", reload: "networkd writes it anew when it restarts", units: []string{"systemd-networkd"}},
	{
		owner: "networkmanager", tables: []string{"nm-shared-*"}, chains: []string{"nm-sh-in-*", "nm-sh-fw-*"}, hint: "the connection's profile",
		reload: "NetworkManager writes it anew when the connection comes up",
		pids:   []string{"/run/NetworkManager/NetworkManager.pid"}, units: []string{"NetworkManager"},
	},
	{
		owner: "nixos", tables: []string{"nixos-fw", "nixos-nat"}, chains: []string{"nixos-fw", "nixos-fw-*", "nixos-nat-*"},
		hint: "networking.firewall in configuration.nix", reload: "nixos-rebuild switch and a reboot write it anew",
		signs: []sign{{"/etc/os-release", "ID=", []string{"nixos"}}},
	},
	{
		owner: "vyos", tables: []string{"vyos_*"}, chains: []string{"VYOS_*"}, weak: []string{"NAME_*", "NAME6_*"}, hint: "set firewall … in configuration mode",
		reload: "a commit writes it anew", signs: []sign{{"/etc/os-release", "ID=", []string{"vyos"}}},
	},
	{
		owner: "shorewall", chains: []string{"shorewall", "sfilter", "sha-lh-*", "sha-rh-*"},
		weak: []string{
			"*2fw", "fw2*", "net2*", "*2net", "*-fw", "fw-*", "net-*", "*-net", "*_frwd", "*_fwd", "*_in", "*_out", "~*", "@*", "%*", "dynamic", "smurfs", "smurflog",
			"logflags", "tcpflags", "reject", "logdrop", "logreject", "blacklst", "loc-*", "loc2*", "dmz-*", "dmz2*",
		},
		policies: []string{"input", "forward", "output"}, hint: "/etc/shorewall/rules",
		reload: "shorewall restart writes everything anew", signs: []sign{{"/etc/shorewall/shorewall.conf", "STARTUP_ENABLED=", []string{"Yes", "yes"}}},
	},
	{owner: "vpn kill switch", shape: killSwitchShape, control: true, hint: "whoever set the tunnel up: it lets nothing past it"},
}
