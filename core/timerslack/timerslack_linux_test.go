package timerslack_test

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/calimero-go/core/core/timerslack"
)

const (
	adopting = "TIMERSLACK_TEST_ADOPT"
	again    = "MEROD_TIMERSLACK_ADOPTED" // says that the program was run anew
)

func TestMain(m *testing.M) {
	if os.Getenv(adopting) != "" {
		if err := timerslack.Adopt(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		n, err := slack()
		_, marked := os.LookupEnv(again)
		fmt.Println(n, err, marked, strings.Join(os.Args[1:], " "))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// slack is that of the calling thread, in nanoseconds.
func slack() (int, error) { return unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0) }

// TestStart_ChildHasSlack: the child has it, this process keeps its own.
func TestStart_ChildHasSlack(t *testing.T) {
	t.Parallel()
	before, err := slack()
	require.NoError(t, err)
	cmd := exec.Command("cat", "/proc/self/timerslack_ns")
	var out strings.Builder
	cmd.Stdout = &out
	require.NoError(t, timerslack.Start(cmd.Start))
	after, err := slack()
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	got, err := strconv.Atoi(strings.TrimSpace(out.String()))
	require.NoError(t, err)
	require.Equal(t, max(before, int(timerslack.Slack.Nanoseconds())), got)
	require.Equal(t, before, after)
}

// TestAdopt_RunsTheProgramAnew: once, with its arguments and environment.
func TestAdopt_RunsTheProgramAnew(t *testing.T) {
	t.Parallel()
	before, err := slack()
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0], "an", "argument")
	cmd.Env = append(os.Environ(), adopting+"=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, fmt.Sprintf("%d <nil> false an argument\n", max(before, int(timerslack.Slack.Nanoseconds()))), string(out))
}

// TestAdopt_OnlyOnce: where the slack does not outlast the new run, the program goes on without it and is not run for ever.
func TestAdopt_OnlyOnce(t *testing.T) {
	t.Parallel()
	before, err := slack()
	require.NoError(t, err)
	if before >= int(timerslack.Slack.Nanoseconds()) {
		t.Skip("this process has the slack")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), adopting+"=1", again+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "does not keep the slack")
}
