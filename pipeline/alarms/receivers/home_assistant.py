"""What makes Home Assistant show a camera by itself: MQTT's device discovery (Home Assistant 2024.11).

https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from typing import Any

from ssrl_pipeline._version import __version__

PREFIX = "homeassistant"  # of its discovery topics, unless it was given another
ORIGIN = {"name": "ssrl-pipeline", "sw_version": __version__}
HEALTH = ("ok", "lost", "clock", "frozen", "black", "covered", "out_of_focus", "moved")


def discovery(base: str, slug: str, camera: str, prefix: str = PREFIX) -> tuple[str, dict[str, Any]]:
    """The topic and the payload of one camera's discovery message, which is retained.

    Args:
        base: the topic below which all of ours are.
        slug: what stands for the camera in topics: letters, digits, _ and - alone.
        camera: its name for people.
    """
    own, node = f"{base}/{slug}", f"{base}_{slug}".replace("/", "_")
    running = {"topic": f"{base}/status"}
    return f"{prefix}/device/{node}/config", {
        "device": {
            "identifiers": [node],
            "name": camera,
            "manufacturer": "ssrl-pipeline",
            "model": "Anomaly detection",
            "sw_version": __version__,
        },
        "origin": ORIGIN,
        "availability": [running, {"topic": f"{own}/availability"}],
        "availability_mode": "all",
        "components": _components(own, node, running),
    }


def _components(own: str, node: str, running: dict[str, str]) -> dict[str, Any]:
    """What Home Assistant shows of a camera, by our own keys."""

    def entity(platform: str, key: str, name: str, **more: Any) -> dict[str, Any]:
        return {"platform": platform, "unique_id": f"{node}_{key}", "name": name, **more}

    return {
        "score": entity(
            "sensor",
            "score",
            "Score",
            state_topic=f"{own}/score",
            state_class="measurement",
            suggested_display_precision=2,
            icon="mdi:chart-line",
        ),
        "alarm": entity(
            "binary_sensor",
            "alarm",
            "Alarm",
            state_topic=f"{own}/alarm",
            json_attributes_topic=f"{own}/attributes",
            device_class="safety",  # on: unsafe
        ),
        "picture": entity(
            "image", "picture", "Picture", image_topic=f"{own}/picture", content_type="image/jpeg"
        ),
        "health": entity(
            "sensor",
            "health",
            "Health",
            state_topic=f"{own}/health",
            device_class="enum",
            options=list(HEALTH),
            entity_category="diagnostic",
            availability=[running],  # it says that the camera is lost, so it is there then
        ),
        "mute": entity(
            "switch",
            "mute",
            "Mute",
            state_topic=f"{own}/mute",
            command_topic=f"{own}/mute/set",
            icon="mdi:bell-off",
            availability=[running],
        ),
    }
