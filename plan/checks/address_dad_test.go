package checks

import "testing"

func TestAddressDAD(t *testing.T) {
	a := address("virbr0", "fd00:1::1/64")
	a.Facts.DADFailed, a.Facts.Tentative = true, true
	found(t, addressDAD(), lab(a), "fd00:1::1 on virbr0 is in use by another machine", "dadfailed")
	waiting := address("virbr0", "fd00:1::1/64")
	waiting.Facts.Tentative = true
	healthy(t, addressDAD(), "an address on a bridge without guests", lab(waiting))
}
