package config

// Code names one cause of a wrong configuration, for example "VN703". Every diagnostic of this package carries one in
// its Extra. A code never changes its meaning.
type Code string

// CodeInfo is what "explain" says of a code.
type CodeInfo struct {
	Code  Code   `json:"code"`
	Title string `json:"title"` // the Summary of its diagnostics, but for those of the HCL library, which say it closer
	Why   string `json:"why"`
	Cure  string `json:"cure"`
}

// The codes of the language, VN7xx.
const (
	codeUnreadable       Code = "VN700"
	codeSyntax           Code = "VN701"
	codeUnknownBlock     Code = "VN702"
	codeUnknownAttribute Code = "VN703"
	codeMissing          Code = "VN704"
	codeLabels           Code = "VN705"
	codeDuplicateBlock   Code = "VN706"
	codeWrongType        Code = "VN707"
	codeExpression       Code = "VN708"
	codeUnknownReference Code = "VN709"
	codeCycle            Code = "VN710"
	codeNoVersion        Code = "VN711"
	codeVersion          Code = "VN712"
	codeSetting          Code = "VN713"
	codeUndeclared       Code = "VN714"
	codeNoValue          Code = "VN715"
	codeBadValue         Code = "VN716"
	codeRepetition       Code = "VN717"
	codeAddress          Code = "VN720"
	codeHostBits         Code = "VN721"
	codeOverlap          Code = "VN722"
	codeGatewayOutside   Code = "VN723"
	codeReservedAddress  Code = "VN724"
	codeGuestOutside     Code = "VN725"
	codeSameAddress      Code = "VN726"
	codeDHCPRange        Code = "VN727"
	codeTwoDefaults      Code = "VN729"
	codeMAC              Code = "VN730"
	codeSameMAC          Code = "VN731"
	codeDeviceName       Code = "VN732"
	codeSameDevice       Code = "VN733"
	codeSamePort         Code = "VN734"
	codePortIsNetwork    Code = "VN735"
	codeConflict         Code = "VN736"
	codeMTU              Code = "VN737"
	codeUplink           Code = "VN738"
	codePort             Code = "VN740"
	codeSameForward      Code = "VN741"
	codeForwardAddress   Code = "VN742"
	codeForwardTarget    Code = "VN743"
	codeEndpoint         Code = "VN744"
	codeService          Code = "VN745"
	codeSysctl           Code = "VN746"
	codeLease            Code = "VN747"
	codeDHCPOption       Code = "VN748"
	codeName             Code = "VN749"
	codeLiveOverlap      Code = "VN750"
	codeLivePort         Code = "VN751"
	codeLiveDevice       Code = "VN752"
	codeUpstream         Code = "VN753"
	codeSameName         Code = "VN754"
	codeStray            Code = "VN755"
)

// Codes lists every code of the language, in order.
func Codes() []CodeInfo {
	return append(languageCodes(), networkCodes()...)
}

func languageCodes() []CodeInfo {
	return []CodeInfo{
		{codeUnreadable, "Configuration cannot be read", "The path does not exist, may not be read, or has no *.vmnet.hcl file.", "Name a directory with *.vmnet.hcl files, one file, or - for standard input."},
		{codeSyntax, "Invalid syntax", "The text is not HCL.", "Correct what the message points at. Errors further down may come from the same place."},
		{codeUnknownBlock, "Unknown block type", "The language has no block of this type in this place.", "Use one of the block types the message names."},
		{codeUnknownAttribute, "Unknown attribute", "Every block type has its own closed set of attributes, so that a misspelt one is found at once and not ignored.", "Use one of the attributes the message names."},
		{codeMissing, "Missing attribute", "The block does not work without this attribute, and it has no default.", "Add it."},
		{codeLabels, "Wrong labels of a block", "A block has one label, its name; vmnet and locals have none. Names are used in references, so they are made of letters, digits, _ and -.", "Write the block as the message shows."},
		{codeDuplicateBlock, "Block declared twice", "A name means one thing in all files of a configuration.", "Rename or remove one of the two."},
		{codeWrongType, "Wrong type of value", "The attribute needs another type of value.", "Write the value as the message shows."},
		{codeExpression, "Invalid expression", "The expression cannot be evaluated.", "Correct what the message names."},
		{codeUnknownReference, "Unknown reference", "The expression names a block, variable, local value or attribute that the configuration does not have.", "Use one of the names the message gives, or declare it."},
		{codeCycle, "Reference cycle", "The values depend on each other in a circle, so none of them can be computed first.", "Replace one of the references in the chain by a value."},
		{codeNoVersion, "Missing required_version", "A configuration says which versions of vmnet it is written for, so that an older one does not misread it.", `Add vmnet { required_version = ">= 0.1" } to one file.`},
		{codeVersion, "Unsuitable version of vmnet", "required_version excludes the version that runs.", "Install a version that fits, or widen required_version."},
		{codeSetting, "Invalid setting", "The setting takes other values.", "Use one of the values the message names."},
		{codeUndeclared, "Undeclared variable", "A value was given for a variable that no file declares.", "Declare it with a variable block, or correct the name."},
		{codeNoValue, "Variable without a value", "The variable has no default, and no value was given.", "Give one with -var, -var-file, an *.auto.vmvars.hcl file or VMNET_VAR_name, or add a default."},
		{codeBadValue, "Invalid value for a variable", "The value does not have the declared type.", "Give a value of the type that the variable block declares."},
		{codeRepetition, "Invalid for_each or count", "for_each takes a map or a set of strings, count a whole number.", "Wrap a list with toset([...]), or use a for expression that makes a map."},
	}
}

func networkCodes() []CodeInfo {
	return []CodeInfo{
		{codeAddress, "Invalid address", "The text is not an IP address or prefix that can be used here.", "Write an address as 10.0.0.1, a prefix as 10.0.0.0/24."},
		{codeHostBits, "Prefix with host bits", "The address has bits set beyond the prefix length, so it names a host and not a network.", "Write the network's own address, which the message gives."},
		{codeOverlap, "Overlapping subnets", "The host could not tell by an address which of the networks a packet belongs to.", "Give the networks subnets that do not overlap."},
		{codeGatewayOutside, "Gateway outside the subnet", "A gateway is reached directly, so its address is one of the network's own.", "Use an address inside the subnet."},
		{codeReservedAddress, "Reserved address", "The first address of a subnet names the network, the last of an IPv4 subnet is its broadcast address.", "Use an address between them."},
		{codeGuestOutside, "Address outside the network", "The guest would not reach its gateway, nor the host the guest.", "Use an address inside the network's subnet, or attach the guest to another network."},
		{codeSameAddress, "Address used twice", "Two machines with one address answer for each other: connections break now and then, for both.", "Give each its own address."},
		{codeDHCPRange, "Invalid DHCP range", "The range is two addresses of the subnet, in order, without the gateway.", `Write range = "10.0.0.100-10.0.0.199".`},
		{codeTwoDefaults, "Two default gateways", "The kernel keeps one default route of a metric; the second would be refused or win by chance.", "Leave gateway to one bridge."},
		{codeMAC, "Invalid MAC address", "A guest's MAC is six bytes, and its first byte is even: odd ones are for groups.", `Write mac = "52:54:00:12:34:56".`},
		{codeSameMAC, "MAC address used twice", "A bridge sends the frames of both guests to the one that spoke last.", "Give each interface its own MAC."},
		{codeDeviceName, "Invalid device name", "The kernel takes 1 to 15 bytes without slash, colon, or white space (dev_valid_name in net/core/dev.c).", "Shorten or correct the name; device = sets it apart from the label."},
		{codeSameDevice, "Device used twice", "One device of the host can play one part only.", "Give one of the two another device."},
		{codeSamePort, "Port used twice", "A device is a port of one bridge at a time (ip-link(8), master).", "Remove it from one of the bridges."},
		{codePortIsNetwork, "Network as a port", "A bridge cannot be a port of a bridge: the kernel refuses loops of bridges (ELOOP).", "Use one network for both, or connect them with a veth pair."},
		{codeConflict, "Conflicting settings", "Two blocks ask for different values of the same thing.", "Make them equal, or remove one."},
		{codeMTU, "Invalid MTU", "An MTU is 68 to 65535 bytes, with IPv6 at least 1280 (RFC 8200, 5).", "Use a value in the range."},
		{codeUplink, "Invalid uplink", "Packets leave by the device that has the addresses and routes.", "Name that device, or the network it belongs to."},
		{codePort, "Invalid port", "Ports are 1 to 65535; a range goes up.", `Write 22, [22, 80] or "8000-8100".`},
		{codeSameForward, "Port forwarded twice", "A port of the host can lead to one guest only.", "Use another port for one of them."},
		{codeForwardAddress, "Forward to a guest without an address", "The packets' destination is rewritten to the guest's address, so it must be known.", "Add address to the guest."},
		{codeForwardTarget, "Invalid target of a forward", "A forward leads to a guest of a network that lets it in.", "Point it to a guest of a nat network."},
		{codeEndpoint, "Invalid endpoint", "from and to take a network, a guest, a list, an address or prefix, or the words host, outside, any.", "Use one of these."},
		{codeService, "Invalid service", "tcp and udp take ports, icmp takes true.", "Correct the value; leave all three out for every protocol."},
		{codeSysctl, "Invalid sysctl", "A kernel setting of the network has a key such as net.core.somaxconn, and one value.", "Correct the key or the value."},
		{codeLease, "Invalid lease", "A lease is a time of at least two minutes, the shortest that dnsmasq gives, or infinite.", `Write lease = "12h".`},
		{codeDHCPOption, "Invalid DHCP option", "An option is called as dnsmasq(8) calls it, or by its number, and has the values that RFC 2132 gives it. Those that make up the protocol itself, or follow from the network, cannot be set.", `Write options = { ntp-server = "10.20.0.1" }.`},
		{codeName, "Invalid domain name", "A domain name is made of parts of up to 63 letters, digits and hyphens with dots between them (RFC 1035, 2.3.1).", "Write it so; name = in a guest block gives the guest another name than the label."},
		{codeLiveOverlap, "Subnet in use on this host", "The host already has an address or route there, so packets for one would go to the other.", "Choose another subnet, or remove what uses it."},
		{codeLivePort, "Port in use on this host", "A program of the host serves this port; the forward would take its clients away.", "Forward another port, or stop the program."},
		{codeLiveDevice, "Device is not a bridge", "A network's device is a bridge, and the host has a link of that name that is something else: it cannot become one.", "Choose another device."},
		{codeUpstream, "Invalid name server", "upstream lists the name servers that are asked for names of other domains.", `Write upstream = ["9.9.9.9"], "host" for the host's own, or [] for none.`},
		{codeSameName, "Name used twice", "A name of a network leads to one guest.", "Give one of the two another name."},
		{codeStray, "Address in the range, but not kept", "DHCP keeps addresses by MAC. It may give one that lies in its range and belongs to no MAC to somebody else; it pings before it does, which a guest that is off does not answer.", "Add mac to the guest, or use an address beside the range."},
	}
}

// title is the short text of a code.
func (c Code) title() string { return codeInfo(c).Title }

func codeInfo(c Code) CodeInfo {
	for _, i := range Codes() {
		if i.Code == c {
			return i
		}
	}
	return CodeInfo{Code: c}
}
