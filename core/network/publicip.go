package network

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const publicIPTime = 3 * time.Second

// publicAddresses are the addresses that the configuration wants others to know. As in the reference, a node that shall
// advertise its public address and cannot learn it does not start.
func (m *manager) publicAddresses(ctx context.Context) ([]ma.Multiaddr, error) {
	if !m.opts.AdvertisePublicIP {
		return m.advertise, nil
	}
	ip, err := publicIP(ctx, m.opts.PublicIPService)
	if err != nil {
		return nil, errkind.Unavailable.Errorf("ask %s for the public address: %w; set discovery.advertise_address = false, or "+
			"name the addresses in network.advertise", m.opts.PublicIPService, err)
	}
	out := slices.Clone(m.advertise)
	for _, a := range m.listen {
		if b, ok := withIP(a, ip); ok && !slices.ContainsFunc(out, b.Equal) {
			out = append(out, b)
		}
	}
	return out, nil
}

// withIP is an IPv4 listen address with another IP and the same port.
func withIP(a ma.Multiaddr, ip netip.Addr) (ma.Multiaddr, bool) {
	if len(a) < 2 || a[0].Protocol().Code != ma.P_IP4 {
		return nil, false
	}
	if port := a[1].Value(); port == "0" {
		return nil, false
	}
	head, err := ma.NewComponent("ip4", ip.String())
	if err != nil {
		return nil, false
	}
	return append(ma.Multiaddr{*head}, a[1:]...), true
}

func publicIP(ctx context.Context, service string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, publicIPTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, service, nil)
	if err != nil {
		return netip.Addr{}, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment}}
	resp, err := client.Do(req)
	if err != nil {
		return netip.Addr{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("it answers %s", resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64))
	if err != nil {
		return netip.Addr{}, err
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil || !ip.Is4() {
		return netip.Addr{}, fmt.Errorf("it answers %q, which is no IPv4 address", text)
	}
	return ip, nil
}
