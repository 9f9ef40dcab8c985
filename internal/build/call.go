package build

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/frontend/subrequests/outline"
	"github.com/moby/buildkit/frontend/subrequests/targets"
	"github.com/moby/buildkit/solver/pb"

	"github.com/archmage-build/archmage/internal/plan"
	"github.com/archmage-build/archmage/internal/worker"
)

// Call asks the frontend about b instead of building it, as bake's `call` does, and
// prints what it says. See
// https://github.com/moby/buildkit/blob/master/docs/reference/buildctl.md#subrequests.
func Call(ctx context.Context, w *worker.Worker, b *plan.Build, out io.Writer, d *Display, o Options) error {
	opt, _, err := frontendOpt(b, nil, o)
	if err != nil {
		return invalid(b, err)
	}
	opt.Exports, opt.CacheExports = nil, nil
	if opt.Session, err = attachables(b, o); err != nil {
		return invalid(b, err)
	}
	opt.Session = append(opt.Session, w.Auth(logins(b, opt, nil, o)...))
	opt.FrontendAttrs["requestid"] = "frontend." + b.Target.Call
	caps := "moby.buildkit.frontend.subrequests+forward"
	if had := opt.FrontendAttrs["frontend.caps"]; had != "" {
		caps = had + "," + caps
	}
	opt.FrontendAttrs["frontend.caps"] = caps
	request := gateway.SolveRequest{Frontend: opt.Frontend, FrontendOpt: opt.FrontendAttrs}
	var answer map[string][]byte
	s := d.start(b.ID(), w.Name)
	_, err = w.Client.Build(ctx, *opt, "", func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		res, err := c.Solve(ctx, request)
		if err == nil {
			answer = res.Metadata
		}
		return res, err
	}, s.channel)
	s.wait()
	if err != nil {
		return failure(ctx, err, b, w, s, false, o)
	}
	if err := printAnswer(out, b.Target.Call, answer); err != nil {
		return fmt.Errorf("reading what the frontend says of %s: %w", b.Target.Name, err)
	}
	if n, err := strconv.Atoi(string(answer["result.statuscode"])); err == nil && n != 0 {
		return &Error{
			Build: b.Target.Name, Step: "call " + b.Target.Call, Err: fmt.Errorf("the frontend ended it with status %d", n),
			Hint: "fix what it found; a rule that does not fit is skipped by a line in the Dockerfile such as: # check=skip=RULE",
		}
	}
	return nil
}

// printAnswer prints what a frontend said, in the form of buildx.
func printAnswer(out io.Writer, name string, answer map[string][]byte) error {
	switch raw := answer["result.json"]; name {
	case "outline":
		return outline.PrintOutline(raw, out)
	case "targets":
		return targets.PrintTargets(raw, out)
	case "lint":
		var found lint.LintResults
		if err := json.Unmarshal(raw, &found); err != nil {
			return err
		}
		switch n := len(found.Warnings); {
		case n == 1:
			fmt.Fprintln(out, "Check complete, 1 warning has been found!")
		case n > 1:
			fmt.Fprintf(out, "Check complete, %d warnings have been found!\n", n)
		case found.Error == nil:
			fmt.Fprintln(out, "Check complete, no warnings found.")
		}
		same := func(s *pb.SourceInfo) *pb.SourceInfo { return s }
		if err := found.PrintTo(out, same); err != nil {
			return err
		}
		if found.Error != nil {
			found.PrintErrorTo(out, same)
		}
		return nil
	}
	_, err := out.Write(answer["result.txt"])
	return err
}
