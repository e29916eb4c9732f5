"""What all our pages share: one HTML file each, no network, no scripts; style and figures."""
