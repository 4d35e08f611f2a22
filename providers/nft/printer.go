package nft

import "github.com/vmnet/vmnet/schema"

type printer struct {
	table   *schema.Table
	lowered map[*schema.Rule][]part
}

func (p *printer) text(r *schema.Rule) string { return "" }
