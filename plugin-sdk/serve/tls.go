package serve

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
)

// newTLS makes the plugin's identity and its go-plugin TLSProvider.
func newTLS() (*handshake.Identity, func() (*tls.Config, error), error) {
	host, ok := os.LookupEnv(handshake.EnvHostCert)
	if !ok {
		return nil, nil, errkind.Precondition.Errorf("the host passed no certificate in %s; plugins answer over mutual TLS only",
			handshake.EnvHostCert)
	}
	identity, err := handshake.NewIdentity()
	if err != nil {
		return nil, nil, err
	}
	config, err := identity.PluginTLS([]byte(host))
	if err != nil {
		return nil, nil, err
	}
	return identity, func() (*tls.Config, error) { return config, nil }, nil
}

// certifyHandshake puts the plugin's certificate into the handshake line that go-plugin prints: it does so itself only
// for the P-521 certificate it makes, and leaves the sixth field empty with a TLSProvider. So os.Stdout is a pipe until
// go-plugin, having printed the line, replaces it by its own.
func certifyHandshake(identity *handshake.Identity) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the handshake: %w", err)
	}
	stdout := os.Stdout
	os.Stdout = w
	go func() {
		in := bufio.NewReader(r)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				_, _ = io.WriteString(stdout, line) // the host reports what it cannot read
				return
			}
			line, whole := certified(line, identity)
			_, _ = io.WriteString(stdout, line)
			if whole {
				break
			}
		}
		// Whoever kept the old os.Stdout still prints to the host, which shows it as a stray line.
		_, _ = io.Copy(stdout, in)
	}()
	return nil
}

// certified fills the empty sixth field of a handshake line; other lines stay as they are.
func certified(line string, identity *handshake.Identity) (string, bool) {
	fields := strings.Split(strings.TrimSuffix(line, "\n"), "|")
	if len(fields) < 6 || fields[0] != "1" || fields[4] != "grpc" || fields[5] != "" {
		return line, false
	}
	fields[5] = base64.RawStdEncoding.EncodeToString(identity.DER())
	return strings.Join(fields, "|") + "\n", true
}
