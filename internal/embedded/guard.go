package embedded

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// registryUser is whom the password of an embedded registry belongs to; the
// part's source repeats it.
const registryUser = "archmage"

// RegistryLogin returns what the embedded registry at host takes a write with;
// ok is false where no registry of this user's runs there. Password is the file
// that it stands in, which only this user may read.
func (m *Machine) RegistryLogin(host string) (user, password, file string, ok bool) {
	addr, err := loopback(host)
	if err != nil {
		return "", "", "", false
	}
	// Whoever listens there once it has ended is sent nothing.
	if _, alive := m.load(registryName(addr)); !alive {
		return "", "", "", false
	}
	file = passwordFile(m.registryDir(addr))
	text, err := os.ReadFile(file)
	if err != nil {
		return "", "", "", false
	}
	return registryUser, string(text), file, true
}

func passwordFile(dir string) string { return filepath.Join(dir, "password") }

// guardEnv is what makes the registry one of this user's, and answer at all that
// its host means. A program that listens at ::1 keeps it from answering as
// "localhost" only.
func guardEnv(dir, host, addr string) ([]string, error) {
	if _, err := keptSecret(passwordFile(dir)); err != nil {
		return nil, err
	}
	env := []string{"ARCHMAGE_PASSWORD_FILE=" + passwordFile(dir)}
	if ip, port, err := net.SplitHostPort(addr); err == nil && ip == "127.0.0.1" {
		env = append(env, "ARCHMAGE_ALSO_LISTEN="+net.JoinHostPort("::1", port))
	}
	if len(alsoMeant(host)) > 0 {
		env = append(env, "ARCHMAGE_ALSO_MUST=1")
	}
	return env, nil
}

// keptSecret returns the secret in a file, which is made once and is this user's
// alone.
func keptSecret(file string) (string, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("reading its secret: %w", err)
	case len(text) > 0:
		if err := os.Chmod(file, 0o600); err != nil {
			return "", fmt.Errorf("closing its secret to others: %w", err)
		}
		return string(text), nil
	}
	secret := rand.Text()
	if err := os.WriteFile(file+".new", []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("keeping its secret: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return "", fmt.Errorf("keeping its secret: %w", err)
	}
	return secret, nil
}

// proves reports whether the registry whose secrets lie in dir answers at every
// address, and nobody in its place.
func proves(ctx context.Context, dir string, addrs []string) bool {
	password, err := os.ReadFile(passwordFile(dir))
	if err != nil {
		return false
	}
	for _, addr := range addrs {
		if !provesAt(ctx, string(password), addr) {
			return false
		}
	}
	return true
}

// provesAt asks who answers at addr for what only the holder of the password can
// tell of that address, so that nobody can pass the question on.
func provesAt(ctx context.Context, password, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/v2/", nil)
	if err != nil {
		return false
	}
	nonce := rand.Text()
	req.Header.Set("Archmage-Nonce", nonce)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req) // no proxy, no redirect
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	mac := hmac.New(sha256.New, []byte(password))
	mac.Write([]byte("at " + addr + " " + nonce))
	proof := hex.EncodeToString(mac.Sum(nil))
	return resp.StatusCode == http.StatusUnauthorized && hmac.Equal([]byte(resp.Header.Get("Archmage-Proof")), []byte(proof))
}

// listenerOwner is the user whose socket listens at addr; ok is false where that
// is not told (/proc/net/tcp of proc_pid_net(5)).
func listenerOwner(addr string) (uid int, ok bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, false
	}
	ip := net.ParseIP(host)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			const listens = "0A"
			if len(fields) < 8 || fields[3] != listens || !isSocketAt(fields[1], ip, port) {
				continue
			}
			if _, err := fmt.Sscan(fields[7], &uid); err == nil {
				return uid, true
			}
		}
	}
	return 0, false
}

// isSocketAt reports whether an address of that table, such as
// "0100007F:1388", is ip's or that of all.
func isSocketAt(text string, ip net.IP, port string) bool {
	words, hexPort, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(words)
	if err != nil || len(raw)%4 != 0 {
		return false
	}
	var number int
	if _, err := fmt.Sscanf(hexPort, "%X", &number); err != nil || fmt.Sprint(number) != port {
		return false
	}
	for i := 0; i < len(raw); i += 4 { // words in the machine's order of bytes
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	at := net.IP(raw)
	return at.Equal(ip) || at.IsUnspecified()
}
