// Probe is the program in the images that tests run on devices.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"version"}
	}
	switch rest := args[1:]; args[0] {
	case "version":
		fmt.Printf("probe %s/%s\n", runtime.GOOS, runtime.GOARCH)
	case "args": // what arrived, byte by byte
		if err := json.NewEncoder(os.Stdout).Encode(rest); err != nil {
			os.Exit(1)
		}
	case "env":
		fmt.Println(os.Getenv(rest[0]))
	case "exit":
		fmt.Fprintln(os.Stderr, "leaving with", rest[0])
		code, _ := strconv.Atoi(rest[0])
		os.Exit(code)
	case "write":
		if err := os.WriteFile(rest[0], []byte("written"), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "sleep":
		d, _ := time.ParseDuration(rest[0])
		fmt.Println("sleeping")
		time.Sleep(d)
		fmt.Println("slept")
	case "stubborn": // ignores what asks it to end
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		fmt.Println("staying")
		time.Sleep(time.Hour)
	case "flood":
		n, _ := strconv.Atoi(rest[0])
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range n {
			if _, err := os.Stdout.Write(line); err != nil {
				os.Exit(1)
			}
		}
	case "escape":
		fmt.Print("\x1b[2J\x1b]0;owned\x07red \x1b[31malert\x1b[0m\r\n")
	case "serve":
		mux := http.NewServeMux()
		begin := time.Now()
		mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
			if time.Since(begin) < time.Second { // not ready at once
				http.Error(w, "starting", http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, "all is ok")
		})
		fmt.Println("listening at", rest[0])
		fmt.Fprintln(os.Stderr, http.ListenAndServe(rest[0], mux))
		os.Exit(1)
	}
}
