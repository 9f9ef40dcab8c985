package device

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// lostError is what a script gives whose connection broke.
func lostError(cause error) *Error {
	return &Error{
		Kind: Unreachable, Err: fmt.Errorf("the connection was lost: %w", unreachable(cause).Err), lost: true,
		Hint: "check the device's power and network, then run the same command again",
	}
}

// IsLost reports whether an error is that of a connection that stood and broke.
func IsLost(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.lost
}

// reconnects is how many times a connection is sought that broke.
const reconnects = 4

// reconnect opens the connection again after it broke. A line that comes and goes
// may be away for a moment.
func (d *Device) reconnect(ctx context.Context) error {
	wait := 500 * time.Millisecond
	for try := 1; ; try++ {
		err := d.Connect(ctx)
		var e *Error
		if err == nil || try == reconnects || ctx.Err() != nil || !errors.As(err, &e) || e.Kind != Unreachable {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// lasting repeats what may be done twice while the connection breaks under it.
func (d *Device) lasting(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if !IsLost(err) || try == breaks || ctx.Err() != nil {
			return err
		}
		if err := d.reconnect(ctx); err != nil {
			return err
		}
	}
}

// steady is script, for one that may be run twice.
func (d *Device) steady(ctx context.Context, body string) (o outcome, err error) {
	err = d.lasting(ctx, func() error {
		o, err = d.script(ctx, body)
		return err
	})
	return o, err
}

// feed runs a script of one line with data as its standard input, and returns what
// it said.
func (d *Device) feed(ctx context.Context, script string, data []byte) (stdout, stderr string, err error) {
	d.mu.Lock()
	l := d.link
	d.mu.Unlock()
	if l == nil {
		return "", "", &Error{Kind: Unreachable, Err: errors.New("it is not connected"), lost: true}
	}
	cmd := l.run(ctx, script)
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(data), &out, &said
	err = cmd.Run()
	switch lost := error(nil); {
	case ctx.Err() != nil:
		return "", "", context.Cause(ctx)
	case err != nil:
		if lost = l.lost(lostWait); lost != nil {
			return "", "", lostError(lost)
		}
	}
	return out.String(), said.String(), nil // what it did not say tells that it failed
}
