// Package house holds the tests that assert this repository's own rules: who imports whom, what stands where.
package house
