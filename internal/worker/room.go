package worker

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/util/grpcerrors"
	"google.golang.org/grpc/codes"
)

// The size of the file that Full writes, in bytes, how often, and how long it
// may take. Little goes over the connection.
const (
	roomFile    = 256 << 10
	roomCopies  = 64
	roomTimeout = 10 * time.Second
)

// Full asks the daemon whether its disk is full, by writing 16 MiB there and
// removing them. It is false where there is no answer.
func (w *Worker) Full(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	data := make([]byte, roomFile)
	_, _ = rand.Read(data) // never fails; neither cached nor compressed
	file := llb.Scratch().File(llb.Mkfile("/file", 0o600, data), llb.WithCustomName("[probe] write to the disk"))
	// One operation, so that what it removes is not kept either.
	fill := llb.Copy(file, "/file", "/0")
	for i := 1; i < roomCopies; i++ {
		fill = fill.Copy(file, "/file", fmt.Sprintf("/%d", i))
	}
	fill = fill.Rm("/*", llb.WithAllowWildcard(true))
	def, err := llb.Scratch().File(fill, llb.WithCustomName("[probe] is there room")).Marshal(ctx)
	if err != nil {
		return false
	}
	_, err = w.Client.Solve(ctx, def, client.SolveOpt{}, discardStatus())
	return Exhausted(err)
}

// Exhausted reports whether the daemon had no space or no memory left: BuildKit
// gives ENOSPC and ENOMEM this code.
func Exhausted(err error) bool { return err != nil && grpcerrors.Code(err) == codes.ResourceExhausted }

// discardStatus takes the status of a solve that is nothing to look at.
func discardStatus() chan *client.SolveStatus {
	status := make(chan *client.SolveStatus)
	go func() {
		for range status { //nolint:revive // the solve closes it
		}
	}()
	return status
}
