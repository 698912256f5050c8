"""Where families of models keep their layers."""
