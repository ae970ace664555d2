"""Tests of SMS, most of them against SMSCs of others."""
