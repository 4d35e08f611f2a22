package checks

// All lists every check in the order in which an engineer looks: the layers in their order, and within one by code.
func All() []Check {
	return []Check{
		modulesGone(), tunMissing(), vmwareModules(), firewallDouble(), backlogDrops(),

		adapterWifi(), adapterQdisc(), tunnelMTU(), virtualboxRange(),

		bridgeMTU(), bridgeSTP(), bridgeAddress(), guestMACDouble(), macvtapHost(), macvlanPort(), tapOrphan(), bridgeDown(), bridgeSnooping(), uplinkRenamed(),
		networkdMatch(),

		subnetOverlap(), policyTable(), defaultRules(), acceptRA(), addressDAD(), addressProxy(), addressDouble(), conntrackFull(),
		neighbourFull(), sysctlBoot(), arpFlux(), networkdForeign(), neighbourStale(), defaultMissing(),

		tableTainted(), nftablesIndex(), nftablesFlush(), savedForeign(), ownerRules(), masqueradeWithin(),

		dhcpDead(), portTaken(), networkInactive(), leaseReservation(), dhcpFull(), dhcpRange(), resolvDangling(), clientIDDouble(), bridgeStale(),
	}
}
