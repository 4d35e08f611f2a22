package checks

// All lists every check in the order in which an engineer looks: the layers in their order, and within one by code.
func All() []Check {
	return []Check{
		adapterWifi(),
		bridgeMTU(),
		bridgeSTP(),
		bridgeAddress(),
		guestMACDouble(),
		subnetOverlap(),
		policyTable(),
		defaultRules(),
		acceptRA(),
	}
}
