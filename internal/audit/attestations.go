package audit

import (
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// judgeAttestations compares the attestations with the images they are about.
func (a *auditor) judgeAttestations() {
	if a.tree.Kind != KindIndex {
		return
	}
	images := map[digest.Digest]*Node{}
	for _, n := range a.tree.Images() {
		images[n.Digest] = n
	}
	kinds := map[digest.Digest][]string{}
	all := map[string]bool{}
	walkNodes(&a.tree.Node, func(n *Node) {
		if n.FalseClaim != "" {
			a.found.add(about(n, "false-attestation", "it calls itself an attestation and is none: %s", n.FalseClaim))
		}
		if n.Kind != KindAttestation || n.Problem != "" {
			return
		}
		image, ok := images[n.Subject]
		if !ok {
			a.found.add(about(n, "attestation-orphan", "the %s is about %s, which is not in the index", predicateNames(n.Predicates), n.Subject))
			return
		}
		for _, p := range n.Predicates {
			name := predicateNames([]string{p})
			all[name] = true
			kinds[image.Digest] = append(kinds[image.Digest], name)
		}
		if len(n.Predicates) == 0 {
			all["attestation"] = true
			kinds[image.Digest] = append(kinds[image.Digest], "attestation")
		}
	})
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var without []string
		with := 0
		for _, n := range a.tree.Images() {
			if slices.Contains(kinds[n.Digest], name) {
				with++
			} else if !slices.Contains(without, n.Platform) {
				without = append(without, n.Platform)
			}
		}
		if with > 0 && len(without) > 0 {
			a.found.add(about(&a.tree.Node, "attestation-uneven", "%s has no %s, others have", strings.Join(without, ", "), name))
		}
	}
}

// judgeAttestationBlobs says which parts of attestations are not there.
func (a *auditor) judgeAttestationBlobs(l *layers) {
	walkNodes(&a.tree.Node, func(n *Node) {
		if n.Kind != KindAttestation && n.Kind != KindArtifact {
			return
		}
		for _, layer := range n.Layers {
			o := l.outcomes[layer.Digest]
			if o == nil {
				continue
			}
			f := about(n, o.check, "a part of the %s: %s", n.Name, o.problem)
			f.Layer = layer.Digest
			switch {
			case o.problem != "":
				a.found.add(f)
			case o.size >= 0 && o.size != layer.Size:
				f.ID = "size-mismatch"
				f.Message = "a part of the " + n.Name + " has another size than its manifest states"
				a.found.add(f)
			}
		}
	})
}
