package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/url"
	"strings"
)

const home = "https://github.com/archmage-build/archmage"

// The parts of SARIF that are written.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
		Columns string        `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string      `json:"id"`
		Short   sarifText   `json:"shortDescription"`
		Help    sarifText   `json:"help"`
		HelpURI string      `json:"helpUri"`
		Default sarifConfig `json:"defaultConfiguration"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifConfig struct {
		Level Severity `json:"level"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        Severity          `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Properties   sarifProperties   `json:"properties"`
	}
	sarifLocation struct {
		Physical sarifPhysical  `json:"physicalLocation"`
		Logical  []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		Name string `json:"fullyQualifiedName"`
		Kind string `json:"kind"`
	}
	sarifProperties struct {
		Reference string   `json:"reference"`
		Platform  string   `json:"platform,omitempty"`
		Digest    string   `json:"digest,omitempty"`
		Layer     string   `json:"layer,omitempty"`
		Evidence  []string `json:"evidence,omitempty"`
		Chain     []string `json:"chain,omitempty"`
	}
)

// WriteSARIF writes the findings as SARIF 2.1.0, for code scanning. The
// version is of this tool.
func WriteSARIF(w io.Writer, version string, reports ...*Report) error {
	run := sarifRun{
		Tool:    sarifTool{sarifDriver{Name: "archmage", Version: version, InformationURI: home}},
		Results: []sarifResult{},
		Columns: "unicodeCodePoints",
	}
	for _, c := range Checks {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID: c.ID, Short: sarifText{c.Title}, Help: sarifText{c.Remedy}, Default: sarifConfig{c.Severity},
			HelpURI: home + "/blob/main/docs/audit.md#" + c.ID,
		})
	}
	for _, r := range reports {
		for _, f := range r.Findings {
			run.Results = append(run.Results, sarifOf(r.Tree.Reference, f))
		}
	}
	raw, err := json.Marshal(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, escapeJSON(raw), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = b.WriteTo(w)
	return err
}

func sarifOf(reference string, f Finding) sarifResult {
	location := sarifLocation{Physical: sarifPhysical{
		Artifact: sarifArtifact{URI: (&url.URL{Path: strings.TrimSuffix(reference+f.Path, "/")}).String()},
		// Binary files have no lines, and GitHub shows nothing without one.
		Region: sarifRegion{StartLine: 1},
	}}
	if f.Platform != "" {
		location.Logical = append(location.Logical, sarifLogical{f.Platform, "platform"})
	}
	if f.Layer != "" {
		location.Logical = append(location.Logical, sarifLogical{f.Layer.String(), "layer"})
	}
	message := f.Message
	if f.Platform != "" && !strings.Contains(message, f.Platform) {
		message = f.Platform + ": " + message
	}
	if reached := f.Reached(); reached != "" {
		message += " (reached by " + reached + ")"
	}
	// Not the digests: they are others after every build, and the finding is
	// the same as long as nobody mends it.
	sum := sha256.Sum256([]byte(strings.Join([]string{f.ID, reference, f.Platform, f.Path}, "\x00")))
	return sarifResult{
		RuleID: f.ID, RuleIndex: checkIndex(f.ID), Level: f.Severity, Message: sarifText{Printable(message)},
		Locations:    []sarifLocation{location},
		Fingerprints: map[string]string{"archmageFinding/v1": hex.EncodeToString(sum[:])},
		Properties:   sarifProperties{Reference: reference, Platform: f.Platform, Digest: f.Digest.String(), Layer: f.Layer.String(), Evidence: f.Evidence, Chain: f.Chain},
	}
}
