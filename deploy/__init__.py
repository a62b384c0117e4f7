"""What runs the service: catalogs, the demo, images and dashboards."""
