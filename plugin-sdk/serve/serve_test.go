package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

const envMarker = "SERVE_TEST_MARKER"

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){
		"memory": func() { serve.Storage(storagetest.NewMemory) },
		"marked": func() { serve.Storage(newMarked) },
		"host":   host,
	})
}

// marked leaves a file when it is closed, and prints where a plugin should log.
type marked struct{ storage.Plugin }

func newMarked() storage.Plugin { return marked{storagetest.NewMemory()} }

func (m marked) Health(ctx context.Context) error {
	fmt.Println("a stray print")
	hclog.Default().Info("a log line", "answer", 42)
	return m.Plugin.Health(ctx)
}

func (m marked) Close(ctx context.Context) error {
	if err := os.WriteFile(os.Getenv(envMarker), []byte("closed"), 0o600); err != nil {
		return err
	}
	return m.Plugin.Close(ctx)
}

func marker(t *testing.T) (string, sdktest.Option) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "closed")
	return path, sdktest.WithEnv(envMarker + "=" + path)
}

const patience = 30 * time.Second

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

func TestServe_BothEndsUseP256OverMutualTLS(t *testing.T) {
	t.Parallel()
	var p peer.Peer
	child := sdktest.Start(t, storage.Wire, sdktest.Reexec("memory"), sdktest.WithDialOptions(grpc.WithUnaryInterceptor(
		func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker,
			opts ...grpc.CallOption) error {
			if strings.HasSuffix(method, "/Info") {
				opts = append(opts, grpc.Peer(&p))
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		})))
	info, err := child.Plugin.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, storage.Kind, info.Kind)
	require.Equal(t, uint32(storage.Protocol), info.Protocol)

	state := p.AuthInfo.(credentials.TLSInfo).State
	require.Len(t, state.PeerCertificates, 1)
	require.Equal(t, elliptic.P256(), state.PeerCertificates[0].PublicKey.(*ecdsa.PublicKey).Curve)
	require.NotEmpty(t, state.VerifiedChains)
}

func TestServe_ClosesThePluginOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, p *sdktest.Process[storage.Plugin]){
		"when asked": func(t *testing.T, p *sdktest.Process[storage.Plugin]) {
			require.NoError(t, p.Plugin.Close(t.Context()))
			require.NoError(t, p.Plugin.Close(t.Context()))
		},
		"at SIGTERM": func(t *testing.T, p *sdktest.Process[storage.Plugin]) {
			require.NoError(t, p.Signal(syscall.SIGTERM))
			eventually(t, p.Exited, "process has not ended")
		},
		"at SIGINT": func(t *testing.T, p *sdktest.Process[storage.Plugin]) {
			require.NoError(t, p.Signal(syscall.SIGINT))
			eventually(t, p.Exited, "process has not ended")
		},
		"when the lifeline breaks": func(t *testing.T, p *sdktest.Process[storage.Plugin]) {
			require.NoError(t, p.CutLifeline())
			eventually(t, p.Exited, "process has not ended")
		},
	}
	for name, end := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, env := marker(t)
			p := sdktest.Start(t, storage.Wire, sdktest.Reexec("marked"), env)
			require.NoError(t, p.Plugin.Health(t.Context()))
			end(t, p)
			require.FileExists(t, path)
		})
	}
}

func TestServe_ADeadProcessIsUnavailable(t *testing.T) {
	t.Parallel()
	p := sdktest.Start(t, storage.Wire, sdktest.Reexec("memory"), sdktest.WithName("mem"))
	require.NoError(t, p.Plugin.Health(t.Context()))
	p.Kill()
	err := p.Plugin.Health(t.Context())
	require.ErrorIs(t, err, errkind.Unavailable)
	require.True(t, errkind.IsRetryable(err))
	require.ErrorContains(t, err, `storage plugin "mem"`)
}

// recorder is a testing.TB that keeps what is logged.
type recorder struct {
	testing.TB
	mu  sync.Mutex
	log bytes.Buffer
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, format+"\n", args...)
}

func (r *recorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.log.String(), text)
}

func TestServe_LogsAndStrayPrintsReachTheHost(t *testing.T) {
	t.Parallel()
	_, env := marker(t)
	rec := &recorder{TB: t}
	p := sdktest.Start(rec, storage.Wire, sdktest.Reexec("marked"), env)
	require.NoError(t, p.Plugin.Health(t.Context()))
	eventually(t, func() bool { return rec.has("a stray print") }, "print is lost")
	eventually(t, func() bool { return rec.has("a log line: @module=storage answer=42") || rec.has("answer=42") },
		"log line is lost")
}

func TestServe_RefusesToRunWithoutAHost(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		env  []string
		want string
	}{
		"by hand": {want: "is not run by hand"},
		"without a certificate": {
			env:  []string{handshake.Config.MagicCookieKey + "=" + handshake.Config.MagicCookieValue},
			want: "passed no certificate in " + handshake.EnvHostCert,
		},
		"with a broken certificate": {
			env: []string{handshake.Config.MagicCookieKey + "=" + handshake.Config.MagicCookieValue,
				handshake.EnvHostCert + "=nonsense"},
			want: "no PEM certificate",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := sdktest.Reexec("memory")(t)
			cmd.Env = append(cmd.Env, test.env...)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, string(out), test.want)
		})
	}
}

// host is a child process that starts a plugin as a node does, prints its pid and socket folder, and waits to be killed.
func host() {
	identity, err := handshake.NewIdentity()
	must(err)
	self, err := os.Executable()
	must(err)
	cmd := exec.Command(self)
	cmd.Env = append(cmd.Env, "CALIMERO_SDKTEST_CHILD=marked", envMarker+"="+os.Getenv(envMarker),
		handshake.EnvHostCert+"="+string(identity.PEM()),
		goplugin.EnvUnixSocketDir+"="+os.Getenv(goplugin.EnvUnixSocketDir))
	lifeline, err := handshake.NewLifeline(cmd)
	must(err)
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig: handshake.Config, VersionedPlugins: storage.Wire.HostPlugins("orphan"), Cmd: cmd,
		TLSConfig: identity.HostTLS(), AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC}, SkipHostEnv: true,
		GRPCDialOptions: handshake.DialOptions(), Logger: hclog.NewNullLogger(),
	})
	conn, err := client.Client()
	must(err)
	raw, err := conn.Dispense(storage.Kind)
	must(err)
	must(raw.(storage.Plugin).Health(context.Background()))
	fmt.Println("pid", cmd.Process.Pid)
	lifetime.lifeline = lifeline
	select {}
}

// lifetime keeps the lifeline from being collected, which would close it.
var lifetime struct{ lifeline *handshake.Lifeline }

func must(err error) {
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func TestServe_NoOrphanAndNoSocketAfterKillOfTheHost(t *testing.T) {
	t.Parallel()
	sockets, err := os.MkdirTemp("", "p")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(sockets) })
	path := filepath.Join(t.TempDir(), "closed")
	cmd := sdktest.Reexec("host")(t)
	cmd.Env = append(cmd.Env, envMarker+"="+path, goplugin.EnvUnixSocketDir+"="+sockets)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "pid ")
	require.True(t, ok, line)
	pid, err := strconv.Atoi(text)
	require.NoError(t, err)
	entries, err := os.ReadDir(sockets)
	require.NoError(t, err)
	require.Len(t, entries, 1)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	eventually(t, func() bool { return gone(pid) }, "plugin outlives its host")
	require.FileExists(t, path, "plugin was not closed")
	entries, err = os.ReadDir(sockets)
	require.NoError(t, err)
	require.Empty(t, entries, "socket is left over")
}

// gone tells whether a process that is not ours to wait for has ended, or only waits to be reaped by its new parent.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return os.IsNotExist(err) && syscall.Kill(pid, 0) != nil
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}
