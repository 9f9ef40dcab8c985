//go:build !unix

package worker

func localFree(string) *int64 { return nil }
