// Command fetch gets the kernel that tests boot (package guest). It is for the Makefile, and for whoever a test sends here.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vmnet/vmnet/providers/hosttest/guest"
)

func main() {
	if err := guest.Fetch(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		os.Exit(1)
	}
}
