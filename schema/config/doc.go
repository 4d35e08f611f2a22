// Package config is the language: HCL files in, schema.Desired out, each object traceable to file and line.
//
// It reads files and nothing else: no host, no network. Read Load first; CheckLive is the one question it answers about
// a live host, given as a schema.State.
//
// The way through the package, in the order of Load:
//
//	load.go        the files
//	declare.go     the grammar (specs): which blocks, labels and attributes there are
//	variable.go    values for variables, from five sources
//	eval.go        expressions, computed on demand; reference.go what they can name; repeat.go for_each and count
//	field.go       attributes to Go values, each with its place
//	network.go guest.go forward.go policy.go simple.go      one kind of block each
//	validate.go    blocks compared with each other
//	compile.go     blocks to objects; goal.go and overlap.go: to wishes about packets
//	live.go        the configuration compared with a live host
//
// Everything wrong is an hcl.Diagnostic with one of Codes in its Extra. A value that could not be computed is unknown, and
// what depends on it stays silent, so that one mistake is told once.
//
// # A new attribute
//
// Its name in specs (declare.go), a field in the decoded block and a line where it is read, its use in compile.go, a file in
// testdata/valid and, for what can be wrong with it, one in testdata/invalid.
//
// # Why
//
//   - The syntax tree is walked directly. Decoding by gohcl costs 40 % more than parsing alone, hcldec is quadratic in the
//     number of blocks; plain literals and references, which most attributes are, need no evaluation context here.
//   - Blocks are evaluated on demand and as a whole, as in Terraform: nat.lab may refer to guest.x or the other way round, not
//     both. So anything that names a guest (forward, firewall, expect) stands outside of the network blocks.
//   - A reference gives an object whose attribute id is the block's address. So to = guest.db1, a local value that holds it, a
//     list of them and guest.db1.address all work, without a type of its own.
//   - Names of the file are not looked up on the host: the same text gives the same Desired everywhere.
//   - "outside" cannot be written as prefixes, so a deny for a part of it leaves the implied goal "reaches the outside" whole.
package config
