"""Analytics & monitoring on screen: traffic, adapters, expectations, requests, alerts, system."""
