package main

import "github.com/spf13/cobra"

func (a *app) demoCmd() *cobra.Command {
	return &cobra.Command{Use: "demo", Short: "the whole loop in a private network: no root, no risk", Args: cobra.NoArgs}
}
