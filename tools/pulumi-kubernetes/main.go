// The provider plugin of pulumi-kubernetes, for tests in front of a real API server.
//
// Its own main package embeds two files that are made when it is released and are in no module.
// What they are made from is in the module, and read from the folder PULUMI_KUBERNETES_FILES.
package main

import (
	"encoding/json"
	"log"
	"os"
	"path/filepath"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	folder := os.Getenv("PULUMI_KUBERNETES_FILES")
	schema := map[string]any{}
	if err := json.Unmarshal(read(folder, "schema.json"), &schema); err != nil {
		log.Fatalf("schema.json: %v", err)
	}
	schema["version"] = version.Version
	versioned, err := json.Marshal(schema)
	if err != nil {
		log.Fatal(err)
	}
	mapping := read(folder, "terraform-mapping.json")
	provider.Serve("kubernetes", version.Version, versioned, mapping)
}

func read(folder, name string) []byte {
	content, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		log.Fatal(err)
	}
	return content
}
