// Package archtest holds the tests that assert this repository's own rules: who imports whom, what stands where.
package archtest
