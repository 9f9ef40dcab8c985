// Package ui writes for people: streams that know their terminal, colour, tables, diagnostics and errors.
package ui
