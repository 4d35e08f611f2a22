// Package plan says which steps lead from the live state of a host to the desired one, in which order, at which risk, and
// what is wrong with either.
//
// It is pure: it reads no host and no clock. Read New first.
package plan
