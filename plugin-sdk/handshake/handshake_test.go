package handshake_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
)

func identity(t *testing.T) *handshake.Identity {
	t.Helper()
	i, err := handshake.NewIdentity()
	require.NoError(t, err)
	return i
}

// shake runs a handshake and tells each end's error after a byte was passed.
func shake(t *testing.T, host, plugin *tls.Config) (hostErr, pluginErr error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		server := tls.Server(b, plugin)
		_, err := server.Write([]byte("x"))
		if err != nil {
			_ = b.Close()
		}
		done <- err
	}()
	client := tls.Client(a, host)
	_, hostErr = client.Read(make([]byte, 1))
	if hostErr != nil {
		_ = a.Close()
	}
	return hostErr, <-done
}

func TestIdentity_EndsTrustEachOtherOnly(t *testing.T) {
	t.Parallel()
	host, plugin, stranger := identity(t), identity(t), identity(t)
	pluginTLS, err := plugin.PluginTLS(host.PEM())
	require.NoError(t, err)
	require.Equal(t, elliptic.P256(), host.Leaf().PublicKey.(*ecdsa.PublicKey).Curve)

	trusting := func(i *handshake.Identity) *tls.Config {
		c := i.HostTLS()
		c.RootCAs.AddCert(plugin.Leaf())
		return c
	}
	hostErr, pluginErr := shake(t, trusting(host), pluginTLS)
	require.NoError(t, hostErr)
	require.NoError(t, pluginErr)

	hostErr, pluginErr = shake(t, trusting(stranger), pluginTLS)
	require.Error(t, hostErr)
	require.Error(t, pluginErr, "a host that did not start the plugin is refused")

	hostErr, _ = shake(t, host.HostTLS(), pluginTLS)
	require.Error(t, hostErr, "a plugin whose certificate was not in the handshake line is refused")

	bare := trusting(host)
	bare.Certificates = nil
	hostErr, pluginErr = shake(t, bare, pluginTLS)
	require.Error(t, hostErr)
	require.Error(t, pluginErr, "a host without certificate is refused")
}

func TestPluginTLS_RefusesNonsense(t *testing.T) {
	t.Parallel()
	_, err := identity(t).PluginTLS([]byte("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----"))
	require.ErrorIs(t, err, errkind.Invalid)
	require.ErrorContains(t, err, handshake.EnvHostCert)
}

func TestLifeline(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("true")
	extra, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer extra.Close()
	cmd.ExtraFiles = []*os.File{extra}
	l, err := handshake.NewLifeline(cmd)
	require.NoError(t, err)
	require.Equal(t, []string{handshake.EnvLifeline + "=4"}, cmd.Env)
	require.Len(t, cmd.ExtraFiles, 2)
	require.NoError(t, l.CutHost())
	n, err := cmd.ExtraFiles[1].Read(make([]byte, 1))
	require.Zero(t, n)
	require.Error(t, err, "the end of the host is the end of the file")
	require.NoError(t, l.Close())
}

func TestInheritedLifeline(t *testing.T) {
	line, err := handshake.InheritedLifeline()
	require.NoError(t, err)
	require.Nil(t, line)
	for _, bad := range []string{"", "x", "-1", "2", "60000", "99999999"} {
		t.Setenv(handshake.EnvLifeline, bad)
		_, err := handshake.InheritedLifeline()
		require.ErrorIs(t, err, errkind.Invalid, bad)
		require.ErrorContains(t, err, handshake.EnvLifeline)
	}
}
