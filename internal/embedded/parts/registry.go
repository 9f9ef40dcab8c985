//go:build ignore

// Command registry is distribution's registry with the filesystem driver and
// two ways to authenticate, and nothing else. The ignore tag keeps its
// dependencies out of the module that embeds it; it is compiled by file name.
//
// With ARCHMAGE_PASSWORD_FILE set it is a registry of one user: everybody may
// read, and only who has the password may write.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
)

func main() {
	if file := os.Getenv("ARCHMAGE_PASSWORD_FILE"); file != "" {
		password, err := os.ReadFile(file)
		if err != nil || len(password) < 16 {
			log.Fatalf("reading the password in %q: %d bytes: %v", file, len(password), err)
		}
		registry.RegisterHandler(func(_ *configuration.Configuration, next http.Handler) http.Handler {
			g := guard{password: password, next: next}
			if addr := os.Getenv("ARCHMAGE_ALSO_LISTEN"); addr != "" {
				also(addr, g)
			}
			return g
		})
	}
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}

// also serves at a second address: ::1, which "localhost" means as well, so that
// nobody else can answer there.
func also(addr string, handler http.Handler) {
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		go func() { log.Fatal(http.Serve(l, handler)) }()
	case errors.Is(err, syscall.EADDRINUSE) && os.Getenv("ARCHMAGE_ALSO_MUST") != "":
		log.Fatal(err)
	default: // a machine without IPv6, or nobody asked for that name
		log.Print(err)
	}
}

const (
	user      = "archmage"
	tokenPath = "/v2/token"
	// anonymous is the token of those who only read: Docker wants one.
	anonymous = "anonymous"
)

// guard lets everybody on this machine read, and those write who have the
// password. It speaks the token protocol of the distribution specification,
// since clients that get a Basic challenge do not read without a login.
type guard struct {
	password []byte
	next     http.Handler
}

func (g guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.Host) { // a web page whose name was made to point here
		refuse(w, http.StatusMisdirectedRequest, "DENIED", fmt.Sprintf("this registry is not known as %q: use localhost", r.Host))
		return
	}
	if r.URL.Path == tokenPath {
		g.token(w, r)
		return
	}
	if nonce := r.Header.Get("Archmage-Nonce"); nonce != "" && len(nonce) <= 128 {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		w.Header().Set("Archmage-Proof", g.sum("at "+fmt.Sprint(at)+" "+nonce))
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	switch base := r.URL.Path == "/v2/" || r.URL.Path == "/v2"; {
	case g.writer(r):
	case reads && !base, base && bearer(r) == anonymous:
	default:
		challenge := fmt.Sprintf("Bearer realm=%q,service=%q", "http://"+r.Host+tokenPath, user)
		if m := inRepository.FindStringSubmatch(r.URL.Path); m != nil {
			challenge += fmt.Sprintf(",scope=%q", "repository:"+m[1]+":pull,push")
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "only the user who started this registry may write to it")
		return
	}
	r.Header.Del("Authorization")
	g.next.ServeHTTP(w, r)
}

var inRepository = regexp.MustCompile(`^/v2/(.+)/(blobs|manifests|tags|referrers)/`)

// token gives those with the password the token that writes, and all others one
// that reads.
func (g guard) token(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "ask for a token with GET")
		return
	}
	token := anonymous
	if _, _, ok := r.BasicAuth(); ok {
		if !g.writer(r) {
			refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "that is not the password")
			return
		}
		token = g.sum("write")
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 3600})
}

// writer reports whether a request comes with the password or its token.
func (g guard) writer(r *http.Request) bool {
	if name, password, ok := r.BasicAuth(); ok {
		return name == user && hmac.Equal([]byte(password), g.password)
	}
	return hmac.Equal([]byte(bearer(r)), []byte(g.sum("write")))
}

// sum is what only those can make who have the password.
func (g guard) sum(text string) string {
	mac := hmac.New(sha256.New, g.password)
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil))
}

func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
