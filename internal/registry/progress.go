package registry

import (
	"io"
	"sync"

	godigest "github.com/opencontainers/go-digest"
)

// Progress tells how far a blob is on its way to a repository.
type Progress struct {
	// Repository is where it goes, in full.
	Repository string
	Digest     godigest.Digest
	// Done is how many of Size bytes are there. An upload that broke off goes on
	// from what the registry has, or from 0. The last report of a blob that arrived has Done
	// equal to Size.
	Done, Size int64
	// Sent is how many bytes went over the network for it, by all attempts
	// together: 0 if the registry had the blob or mounted it.
	Sent int64
}

// meter counts what an upload reads of a blob.
type meter struct {
	report   func(Progress)
	mu       sync.Mutex // a request that broke off may still read
	progress Progress
}

func (m *meter) count(done, sent int64) {
	m.mu.Lock()
	m.progress.Done += done
	m.progress.Sent += sent
	p := m.progress
	m.mu.Unlock()
	m.report(p)
}

// open wraps one attempt. Attempts of one blob follow each other.
func (m *meter) open(open func() (io.ReadCloser, error)) func() (io.ReadCloser, error) {
	if m.report == nil {
		return open
	}
	return func() (io.ReadCloser, error) {
		body, err := open()
		if err != nil {
			return nil, err
		}
		m.mu.Lock()
		m.progress.Done = 0
		m.mu.Unlock()
		return &metered{ReadCloser: body, meter: m}, nil
	}
}

// arrived reports the blob as a whole.
func (m *meter) arrived() {
	if m.report == nil {
		return
	}
	m.mu.Lock()
	m.progress.Done = m.progress.Size
	p := m.progress
	m.mu.Unlock()
	m.report(p)
}

type metered struct {
	io.ReadCloser
	meter *meter
}

func (b *metered) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.meter.count(int64(n), int64(n))
	}
	return n, err
}
