package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// The CNI plugins read the first file of this folder.
const conflist = "/etc/cni/net.d/10-pods.conflist"

// podNetwork makes pods of all nodes reach each other, as long as it runs: it follows the nodes of the cluster,
// gives this node's pods addresses out of its podCIDR on a bridge, keeps a route to every other node's podCIDR,
// and masquerades what leaves the pod network. A restarted node gets its routes back with this process.
//
// Environment: NODE_NAME, POD_SUBNET (all pods of the cluster) and, optionally, CONTROL_PLANE_ENDPOINT
// (host:port), which spares waiting for kube-proxy.
func podNetwork() error {
	name, subnet := os.Getenv("NODE_NAME"), os.Getenv("POD_SUBNET")
	_, podSubnet, err := net.ParseCIDR(subnet)
	if name == "" || err != nil {
		return fmt.Errorf("NODE_NAME is %q and POD_SUBNET %q: expected a node's name and a CIDR", name, subnet)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		config.Host = "https://" + endpoint
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // one more look is due already
		}
	}
	factory := informers.NewSharedInformerFactory(client, time.Minute)
	nodes := factory.Core().V1().Nodes()
	_, err = nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return err
	}
	factory.Start(context.Background().Done())
	factory.WaitForCacheSync(context.Background().Done())
	notify()
	for range changed {
		all, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			err = errors.Join(configure(name, all), route(name, podSubnet, all), masquerade(podSubnet))
		}
		if err != nil {
			klog.ErrorS(err, "The pod network is not as it should be, trying again in a second")
			time.AfterFunc(time.Second, notify)
		}
	}
	return nil
}

// configure writes what the CNI plugins of this node need, once the node has a podCIDR.
func configure(name string, nodes []*corev1.Node) error {
	for _, node := range nodes {
		if node.Name != name || node.Spec.PodCIDR == "" {
			continue
		}
		text, err := json.MarshalIndent(map[string]any{
			"cniVersion": "0.4.0",
			"name":       "pods",
			"plugins": []any{
				map[string]any{
					"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
					"ipam": map[string]any{
						"type":   "host-local",
						"ranges": []any{[]any{map[string]any{"subnet": node.Spec.PodCIDR}}},
						"routes": []any{map[string]any{"dst": "0.0.0.0/0"}},
					},
				},
				map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}},
			},
		}, "", "  ")
		if err != nil {
			return err
		}
		if present, err := os.ReadFile(conflist); err == nil && bytes.Equal(present, text) {
			return nil
		}
		// Written beside it and renamed: containerd must never read half of it.
		unfinished := filepath.Join(filepath.Dir(conflist), ".pods.unfinished")
		if err := os.WriteFile(unfinished, text, 0o644); err != nil {
			return err
		}
		return os.Rename(unfinished, conflist)
	}
	return nil
}

// route leads to every other node's pods by way of that node, and nowhere else within the pod network.
func route(name string, podSubnet *net.IPNet, nodes []*corev1.Node) error {
	wanted := map[string]bool{}
	var failures []error
	for _, node := range nodes {
		_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
		gateway := addressOf(node)
		if node.Name == name || err != nil || gateway == nil {
			continue
		}
		wanted[pods.String()+" "+gateway.String()] = true
		failures = append(failures, netlink.RouteReplace(&netlink.Route{Dst: pods, Gw: gateway}))
	}
	present, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	failures = append(failures, err)
	for _, route := range present {
		if route.Dst == nil || route.Gw == nil || !podSubnet.Contains(route.Dst.IP) {
			continue
		}
		if !wanted[route.Dst.String()+" "+route.Gw.String()] {
			failures = append(failures, netlink.RouteDel(&route))
		}
	}
	return errors.Join(failures...)
}

func addressOf(node *corev1.Node) net.IP {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return net.ParseIP(address.Address)
		}
	}
	return nil
}

// masquerade lets pods reach what is outside the pod network; between pods addresses stay as they are.
func masquerade(podSubnet *net.IPNet) error {
	subnet := podSubnet.String()
	rule := []string{"POSTROUTING", "-s", subnet, "!", "-d", subnet, "-j", "MASQUERADE"}
	iptables := func(action string) error {
		said, err := exec.Command("iptables", append([]string{"--wait", "-t", "nat", action}, rule...)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("iptables %s: %w: %s", action, err, said)
		}
		return nil
	}
	if iptables("--check") == nil {
		return nil
	}
	return iptables("--append")
}
